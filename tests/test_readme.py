"""What the README lists is what the program has. `python -m tests.test_readme` writes its tables anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentkit import App
from agentkit.app import BUILT_IN
from agentkit.channels.tui.app import Tui
from agentkit.channels.tui.keytable import KEYS
from agentkit.cron import Cron
from agentkit.settings import VARIABLES, Settings, load
from agentkit.timetable import cron_tool

from .test_ladder import LADDER

README = Path(__file__).parent.parent / "README.md"


def block(*lines: str) -> str:
    return "\n".join(("```", *lines, "```"))


def commands() -> str:
    terminal = Tui("assistant", "m", 1000, stray=-1)
    return block(App(Settings("m", "http://127.0.0.1:9/v1", "", 1000), [terminal]).commands.help())


def keys() -> str:
    rows = [f"| {name.replace('|', chr(92) + '|')} | {what} |" for name, what in KEYS]
    return "\n".join(("| keys | what they do |", "|---|---|", *rows))


def settings() -> str:
    rows = [f"| `{each.name}` | {f'`{each.default}`' if each.default else ''} | {each.help} |" for each in VARIABLES]
    return "\n".join(("| setting | default | what it is |", "|---|---|---|", *rows))


def unused() -> Cron:
    raise AssertionError("a list of tools needs no jobs")


def tools() -> str:
    there = (*BUILT_IN, cron_tool(unused))
    rows = [f"| `{each.name}` | {'yes' if each.asks else ''} | {each.description} |" for each in there]
    return "\n".join(("| tool | asks first | what it does |", "|---|---|---|", *rows))


def ladder() -> str:
    return block(LADDER.strip("\n"))


PARTS = {"keys": keys, "commands": commands, "settings": settings, "tools": tools, "ladder": ladder}


def part(name: str, text: str) -> str:
    found = re.search(f"<!-- {name} -->\n(.*?)\n?<!-- /{name} -->", text, re.DOTALL)
    assert found, f"the README has no part {name}"
    return found[1]


@pytest.mark.parametrize("name", PARTS)
def test_what_the_readme_lists_is_what_there_is(name: str) -> None:
    assert part(name, README.read_text()) == PARTS[name](), "python -m tests.test_readme writes it anew"


def test_the_tool_in_the_readme_is_a_tool() -> None:
    code = re.search(r"```python\n(from agentkit import tool\n.*?)```", README.read_text(), re.DOTALL)
    assert code
    names: dict[str, object] = {}
    exec(code[1], names)
    assert "count_words" in str(names["count_words"])


def test_the_first_screen_of_the_readme_has_what_a_newcomer_needs() -> None:
    first = "\n".join(README.read_text().splitlines()[:25])
    assert "python3-venv" in first and ".venv/bin/agentkit" in first and "@tool" in first


def test_the_settings_for_each_server_are_settings(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(LLM_BASE_URL=.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        (tmp_path / ".env").write_text(block)
        found = load({}, tmp_path)
        assert found.llm_model and not found.demo
        assert found.llm_base_url in block and found.llm_context_window >= 32_000


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert target.startswith("https://") or (README.parent / target).exists(), target


if __name__ == "__main__":
    text = README.read_text()
    for name, make in PARTS.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}{make()}\n{end}{rest.partition(end)[2]}"
    README.write_text(text)
