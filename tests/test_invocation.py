"""The commands that people are told to type are those that they have."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkit.invocation import command


@pytest.mark.parametrize(
    ("started", "said"),
    [
        ("/usr/bin/agentkit", "agentkit --resume"),
        (".venv/bin/agentkit", ".venv/bin/agentkit --resume"),
        ("agentkit.pyz", "python3 agentkit.pyz --resume"),
        ("/opt/my bots/bot.py", "python3 '/opt/my bots/bot.py' --resume"),
        ("/usr/lib/python3/site-packages/agentkit/__main__.py", "agentkit --resume"),
        ("-c", "agentkit --resume"),
        ("", "agentkit --resume"),
    ],
)
def test_a_command_is_told_as_the_program_was_started(started: str, said: str) -> None:
    assert command("--resume", started=started, path=["/usr/local/bin", "/usr/bin"]) == said


def test_arguments_are_quoted_for_the_shell(tmp_path: Path) -> None:
    assert command("--session", "it's me", started="agentkit.pyz") == "python3 agentkit.pyz --session 'it'\"'\"'s me'"
