"""Names that people and models give to things: memories, skills, conversations, exports, files after an @."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentkit.events import Done, Error, Inbound, Notice
from agentkit.memory import keep
from agentkit.wire import Reply

from .loopback import Loopback, text_stream
from .program import agentkit, environment, settled
from .test_hardening_injection import House, Model

NAMES = [
    "../evil",
    "../../../../evil",
    "/etc/evil",
    "~/evil",
    "..",
    ".",
    "",
    " ",
    "-rf",
    ".hidden",
    ".env",
    "a/b/c",
    "a\\..\\b",
    "AGENT.md",
    "../AGENT",
    "../skills/bake/SKILL",
    "previous",
    "x.md/../../y",
    "CON",
    "nul.txt",
    "a\0b",
    "two\nlines",
    "\x1b[31mred",
    "\ud800",
    "\u202etxt.exe",
    "．．／evil",
    "n" * 5000,
    "é" * 300,
    "%2e%2e%2fevil",
    "${HOME}",
    "$(touch evil)",
    "*",
    "con\u200b.",
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("name", NAMES)
def test_a_memory_is_a_file_in_the_folder_of_memories(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "agent" / "memory"
    for _ in range(2):
        path = keep(folder, name, "two eggs")
        assert path.parent == folder and path.suffix == ".md" and path.name.isprintable() and path.name[0] not in ".-"
    assert {each.relative_to(folder).parts[0] for each in files(tmp_path)} <= {path.name, "previous"}
    assert len(files(tmp_path)) == 2 and len(path.name.encode()) <= 160


def test_a_memory_never_writes_through_a_link(tmp_path: Path) -> None:
    """In the mode `auto` it is not asked about: what steers the agent is not reached so."""
    agent = tmp_path / "agent"
    (agent / "memory").mkdir(parents=True)
    for name in ("AGENT.md", "precious"):
        (agent / name).write_text("as it was")
    (agent / "memory" / "rules.md").symlink_to("../AGENT.md")
    os.link(agent / "precious", agent / "memory" / "linked.md")
    for name in ("rules", "linked"):
        assert not keep(agent / "memory", name, "Obey.").is_symlink()
    assert (agent / "AGENT.md").read_text() == (agent / "precious").read_text() == "as it was"


@pytest.mark.parametrize("name", NAMES)
def test_a_conversation_stays_in_the_folder_of_its_session(tmp_path: Path, name: str) -> None:
    with House(tmp_path, Model(lambda context: Reply("fine"))) as house:
        person, sessions = house.people[0], tmp_path / "workspace" / "sessions"
        before = files(tmp_path)
        assert isinstance(person.say(f"/new {name}"), (Done, Error))
        assert isinstance(person.say("hello"), Done)
        for command in (f"/save {name}", f"/load {name}", "/list", f"/delete {name}"):
            ending = person.say(command)
            assert isinstance(ending, (Done, Error)) and "itself failed" not in str(ending)
        made = files(tmp_path) - before
        mine = sessions / "agent:assistant:direct:cli-user"
        assert all(path.parent in (mine, tmp_path / "workspace" / ".state") or "usage" in path.parts for path in made)
        assert house.kept()


def test_a_label_on_the_command_line_stays_there_too(tmp_path: Path) -> None:
    home = settled(tmp_path)
    with Loopback([text_stream("fine")]) as server:
        done = agentkit(home, "run", "--session", "../../../evil/x", "hello", env=environment(home, server.url))
    assert done.returncode == 0
    assert [path.name for path in tmp_path.rglob("*evil*")] == ["evil-x.jsonl"]
    assert next(tmp_path.rglob("*evil*")).parent.parent == home / "workspace" / "sessions"


# More of them are in test_rooms.py.
EXPORTS = ["~/evil.md", "out/evil.md", "dangling.md", "fifo.md", "a\0b.md", "there/no/folder.md", "n" * 5000 + ".md"]
EXPORTS += [".ENV.md", "workspace/../.state/x.md", "\ud800.md", "/dev/shm/evil.md"]


@pytest.mark.parametrize("path", EXPORTS)
def test_an_export_is_a_new_file_of_words_or_none(tmp_path: Path, path: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chdir(home)
    (tmp_path / "out").mkdir()
    (home / "out").symlink_to("../out")
    (home / "dangling.md").symlink_to("../out/evil.md")
    os.mkfifo(home / "fifo.md")
    (home / "precious.md").write_text("as it was")
    with House(home, Model(lambda context: Reply("fine"))) as house:
        house.people[0].say("hello")
        before = files(tmp_path)
        assert isinstance(house.people[0].say(f"/export {path}"), Error)
        assert {each for each in files(tmp_path) - before if each.suffix == ".md"} == set()
        assert house.kept() and (home / "precious.md").read_text() == "as it was"


def test_nothing_closed_goes_along_after_an_at(tmp_path: Path) -> None:
    with House(tmp_path, Model(lambda context: Reply("fine"))) as house:
        (tmp_path / "link").symlink_to(".env")
        (tmp_path / "out").symlink_to("/etc")
        os.mkfifo(tmp_path / "fifo")
        paths = [".env", "link", "./workspace/../.env", "workspace/.state/profiles.json", "/proc/self/environ", "fifo"]
        paths += [
            "out/passwd",
            "/etc/passwd",
            "../../../../../etc/passwd",
            "workspace/sessions/other/chat.jsonl",
            "/dev/zero",
        ]
        typed = " ".join(f'@"{each}"' for each in paths)
        person = house.people[0]
        person.turn = (inbound := Inbound(typed, "cli", "cli-user", files=tuple(paths))).turn
        person.dispatch(inbound)
        assert isinstance(person.ended.get(timeout=20), Done)
        notices = [each.text for each in person.events if isinstance(each, Notice)]
        assert sum("not attached" in each for each in notices) == len(paths), notices
        assert not any("attached: " in each and "not attached" not in each for each in notices)


SKILLS = ["../evil", "approvals", "stop", "two words", "two\nlines", "\x1b[31m", "", "x" * 500, "/exit", "évil", "a/b"]


@pytest.mark.parametrize("name", SKILLS)
def test_a_skill_takes_no_commands_place_and_leads_nowhere(tmp_path: Path, name: str) -> None:
    with House(tmp_path, Model(lambda context: Reply("fine"))) as house:
        path = house.agent / "skills" / "new" / "SKILL.md"
        path.parent.mkdir()
        path.write_text(f'---\nname: "{name.encode("unicode_escape").decode()}"\ndescription: "Evil."\n---\nDo evil.\n')
        person = house.people[0]
        ending = person.say("/approvals")
        assert isinstance(ending, Done) and ending.text == "Nothing is always allowed (TOOL_APPROVAL=ask)."
        for command in ("/skill", f"/skill {name}", f"/{name}", "/help", "hello"):
            ending = person.say(command)
            assert isinstance(ending, (Done, Error)) and "itself failed" not in str(ending)
        assert not any("\x1b" in str(each) for each in person.events if isinstance(each, Notice))
