"""Everything that can go wrong, as one small tree. The text of each is one line that names the next step."""

from __future__ import annotations

from collections.abc import Sequence

CATEGORIES = (
    "auth",
    "billing",
    "rate_limit",
    "overloaded",
    "timeout",
    "overflow",
    "model_not_found",
    "bad_request",
    "content_filter",
    "server_error",
    "network",
    "unknown",
)


class AgentkitError(Exception):
    """The root of the tree: `str(error)` is meant for a person."""


class SettingsError(AgentkitError):
    """The program cannot start as it is set up. What to do: put right each line of `problems`."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class CommandError(AgentkitError):
    """A slash command was refused. What to do: its text says."""


class LLMError(AgentkitError):
    """The model could not answer. What to do: `message` ends with it.

    category: one of CATEGORIES; message: one line of at most 300 characters for the user;
    status: the HTTP status, None where there was no answer; retry_after: seconds the server asked to wait;
    detail: the server's own words, for decisions and the log; begun: a part of the reply had been shown by then;
    model: the one that was asked, where it may be another than the one selected.
    """

    begun = False
    model = ""

    def __init__(
        self,
        category: str,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.category = category
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.detail = detail or message


class ToolError(AgentkitError):
    """A tool could not do it. Its text goes to the model as the result of the call, and the turn goes on."""


class PathRefused(ToolError):
    """A path that file tools may not open. The text never tells whether the target exists."""


class Cancelled(BaseException):
    """The user, or a more important message, ended this work. A BaseException, so that no tool swallows it."""
