"""What an HTTP answer or a transport error means: a category that decides what is tried next, and words for the user.

Status codes lie: a bad key comes as 400, an empty account as 429, a full context window as 500. So the words decide,
and the status only where they say nothing. `complaint` reads what was said, `phrases` knows what it means, `waits` how
long to wait, `outage` the ways that never reach a server; `verdict` makes one LLMError of it all.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import LLMError


def classify(
    status: int | None, headers: Mapping[str, str], body: bytes | str, error: BaseException | None = None
) -> LLMError:
    """What an answer, or its absence, means.

    status: the HTTP status, None where there was no answer; with 200, or None and a body, the body is an error object
    that came inside a stream. headers: in any case. body: as it came; its beginning and end are looked at.
    error: the exception of the transport, which counts where there is no refusal. Never raises.
    """
    from .verdict import diagnose  # an error is rare, a start is not: it is loaded with the first one

    return diagnose(status, headers, body, error)
