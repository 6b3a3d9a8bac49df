"""The workspace: what counts as an agent, a skill, a memory; what is broken is told once and stops nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentkit.errors import AgentkitError
from agentkit.workspace import LONGEST, SAMPLE, Agent, Files, Memory, Workspace, body, sample

from .program import ROOT

NOT_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


class Place:
    """A working directory with a workspace in it, and a home beside it."""

    def __init__(self, folder: Path) -> None:
        self.cwd, self.home = folder / "work", folder / "home"
        self.root = self.cwd / "workspace"
        self.cwd.mkdir()
        self.workspace = Workspace(self.root, self.cwd, self.home)

    def write(self, path: str, text: str | bytes) -> Path:
        """A file of the workspace."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    def agent(self, id: str = "a") -> Agent:
        return self.workspace.agents()[id]

    def files(self, id: str = "a") -> Files:
        return self.workspace.files(self.agent(id))

    def memories(self) -> dict[str, str]:
        return {each.name: each.tldr for each in self.files().memories}

    def skills(self) -> dict[str, str]:
        return {each.name: each.description for each in self.files().skills}


@pytest.fixture
def empty(tmp_path: Path) -> Place:
    """Without any workspace."""
    return Place(tmp_path)


@pytest.fixture
def place(empty: Place) -> Place:
    """With an agent called a."""
    empty.write(".agents/a/AGENT.md", "You are a.")
    return empty


@pytest.fixture
def unreadable() -> Iterator[list[Path]]:
    """Paths that are taken all rights from, and given them back afterwards."""
    paths: list[Path] = []
    yield paths
    for path in paths:
        path.chmod(0o755)


def skill(name: str = "", description: str = "", body: str = "") -> str:
    lines = [f"{key}: {value}\n" for key, value in (("name", name), ("description", description)) if value]
    return f"---\n{''.join(lines)}---\n{body}"


# -- agents


def test_every_folder_with_an_agent_file_is_an_agent(empty: Place) -> None:
    empty.write(".agents/writer/AGENT.md", "\nYou write.\n\nWell.\n")
    empty.write(
        ".agents/My Agent!/AGENT.md", "---\nname: The  One\nmodel: m-1\ndm_scope: main\nother: x\n---\nYou are."
    )
    empty.write(".agents/notes/README.md", "no agent")
    empty.write(".agents/.hidden/AGENT.md", "no agent")
    empty.write(".agents/stray.md", "no agent")
    agents = empty.workspace.agents()
    assert list(agents) == ["my-agent", "writer"]
    assert agents["writer"] == Agent("writer", empty.root / ".agents/writer", "You write.\n\nWell.", "writer")
    mine = agents["my-agent"]
    assert (mine.name, mine.model, mine.dm_scope, mine.prompt) == ("The One", "m-1", "main", "You are.")
    assert empty.workspace.notices() == []


@pytest.mark.parametrize(
    ("written", "tools", "denied"),
    [
        ("", None, ()),
        ("tools:\ndenied_tools:", None, ()),
        ("tools: read_file, grep", ("read_file", "grep"), ()),
        ("tools: [read_file, 'grep']\ndenied_tools: bash", ("read_file", "grep"), ("bash",)),
        ("tools:\n- read_file\ndenied_tools:\n  - bash\n  - write_file", ("read_file",), ("bash", "write_file")),
        ("tools: []", (), ()),
        ("Denied-Tools: [bash]", None, ("bash",)),
    ],
)
def test_an_agent_may_have_a_list_of_tools(
    place: Place, written: str, tools: tuple[str, ...] | None, denied: tuple[str, ...]
) -> None:
    place.write(".agents/a/AGENT.md", f"---\n{written}\n---\n")
    assert (place.agent().tools, place.agent().denied_tools) == (tools, denied)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"---\nname: [x]\n---\n", "name is a list"),
        (b"---\nmodel: {a: b}\n---\n", "model is a map"),
        (b"---\ntools: {a: b}\n---\n", "tools is not a list"),
        (b"---\ndenied_tools: [[a]]\n---\n", "denied_tools is not a list"),
        (b"---\ndm_scope: everybody\n---\n", "dm_scope is everybody"),
        (b"---\nname: x\n", "line 1"),
        (b"---\nname: x\nrubbish\n---\n", "line 3"),
        (b"ok\n\xff\xfe", "line 2 is not UTF-8"),
        (b"x" * (1 << 20) + b"x", "larger than 1 MiB"),
    ],
)
def test_a_broken_agent_is_skipped_and_told_once_for_each_version(place: Place, content: bytes, why: str) -> None:
    file = place.write(".agents/b/AGENT.md", content)
    assert list(place.workspace.agents()) == ["a"]
    assert list(place.workspace.agents()) == ["a"]
    [notice] = place.workspace.notices()
    assert notice.startswith("workspace/.agents/b/AGENT.md: ") and why in notice
    assert place.workspace.notices() == []
    file.write_bytes(content + b"\n")
    place.workspace.agents()
    assert len(place.workspace.notices()) == 1
    file.write_text("good")
    assert list(place.workspace.agents()) == ["a", "b"]
    assert place.workspace.notices() == []


def test_an_agent_that_was_good_stays_in_force_while_its_file_is_broken(place: Place) -> None:
    good = place.agent()
    place.write(".agents/a/AGENT.md", "---\nname: x\n")
    assert place.agent() == good
    [notice] = place.workspace.notices()
    assert "stays as it was" in notice
    (good.folder / "AGENT.md").unlink()
    assert list(place.workspace.agents()) == [SAMPLE]
    place.write(".agents/a/AGENT.md", "---\nname: x\n")
    assert list(place.workspace.agents()) == [SAMPLE]


def test_of_two_folders_with_one_id_the_first_by_name_wins(place: Place) -> None:
    place.write(".agents/A/AGENT.md", "You are A.")
    place.write(".agents/a!/AGENT.md", "You are a!")
    assert place.agent().prompt == "You are A."
    notices = place.workspace.notices()
    assert len(notices) == 2 and all("workspace/.agents/A has the id a too" in each for each in notices)
    assert place.workspace.notices() == []


def test_a_folder_whose_name_makes_no_id_is_told(place: Place) -> None:
    place.write(".agents/助手/AGENT.md", "You are.")
    assert list(place.workspace.agents()) == ["a"]
    [notice] = place.workspace.notices()
    assert "rename it" in notice


def test_edits_count_from_the_next_look(place: Place) -> None:
    assert place.agent().prompt == "You are a."
    place.write(".agents/a/AGENT.md", "You are b.")
    assert place.agent().prompt == "You are b."
    place.write(".agents/c/AGENT.md", "You are c.")
    assert list(place.workspace.agents()) == ["a", "c"]


# -- the sample agent


def test_without_a_workspace_the_sample_agent_answers_silently(empty: Place) -> None:
    agent = empty.agent(SAMPLE)
    assert agent.prompt == sample(".agents/assistant/AGENT.md").decode().strip()
    assert list(empty.workspace.agents()) == [SAMPLE]
    assert empty.workspace.notices() == []
    assert not empty.root.exists()


def test_the_sample_agent_has_guidelines_a_skill_and_a_memory(empty: Place) -> None:
    files = empty.files(SAMPLE)
    assert files.guidelines.startswith("## Tools")
    assert [each.name for each in files.skills] == ["commit"]
    assert body(files.skills[0]).startswith("Make a commit")
    assert [each.name for each in files.memories] == ["agentkit"]
    assert empty.workspace.notices() == []


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_without_a_valid_agent_the_sample_one_answers_with_a_notice(empty: Place, content: bytes | None) -> None:
    (empty.root / ".agents").mkdir(parents=True)
    if content:
        empty.write(".agents/a/AGENT.md", content)
    for _ in range(3):
        assert list(empty.workspace.agents()) == [SAMPLE]
    notices = [each for each in empty.workspace.notices() if "sample" in each]
    assert len(notices) == 1 and "workspace/.agents" in notices[0]
    assert empty.workspace.notices() == []


def test_the_folder_is_made_once_with_the_sample_agent_in_it(empty: Place) -> None:
    before = empty.files(SAMPLE)
    line = empty.workspace.make()
    assert str(empty.root) in line and "AGENT.md" in line and "\n" not in line
    assert empty.workspace.make() == ""
    agent = empty.agent(SAMPLE)
    assert agent.folder == empty.root / ".agents" / SAMPLE
    after = empty.files(SAMPLE)
    assert after.guidelines == before.guidelines
    assert [each.name for each in after.skills] == [each.name for each in before.skills]
    assert [each.tldr for each in after.memories] == [each.tldr for each in before.memories]
    assert sorted(os.listdir(empty.root)) == [".agents"]


def test_agents_that_are_there_are_left_alone(place: Place) -> None:
    assert place.workspace.make() == ""
    assert os.listdir(place.root / ".agents") == ["a"]


def test_a_folder_that_cannot_be_made_is_an_error_and_leaves_nothing(empty: Place) -> None:
    empty.root.write_text("a file")
    with pytest.raises(OSError):
        empty.workspace.make()
    assert os.listdir(empty.cwd) == ["workspace"]
    assert list(empty.workspace.agents()) == [SAMPLE]


def test_two_that_make_the_folder_at_once_do_not_harm_each_other(empty: Place) -> None:
    others = [Workspace(empty.root, empty.cwd) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        lines = list(threads.map(lambda each: each.make(), others))
    assert sum(bool(line) for line in lines) == 1
    assert os.listdir(empty.root) == [".agents"]
    assert list(empty.workspace.agents()) == [SAMPLE]


IN_A_ZIP = """
from pathlib import Path
from agentkit import workspace
assert ".zip" in workspace.__file__
found = workspace.Workspace(Path("workspace"), Path.cwd())
agent = found.agents()["assistant"]
files = found.files(agent)
assert agent.prompt and agent.folder == Path.cwd() / "workspace/.agents/assistant"
assert files.guidelines.startswith("## Tools") and not files.skills and not files.memories
assert found.make()
agent = found.agents()["assistant"]
assert [len(each) for each in (found.files(agent).skills, found.files(agent).memories)] == [1, 1]
assert found.notices() == []
"""


def test_the_sample_agent_is_found_inside_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "agentkit.zip", "w") as file:
        for path in (ROOT / "agentkit").rglob("*.py"):
            file.write(path, path.relative_to(ROOT))
        for path in (ROOT / "workspace" / ".agents" / SAMPLE).rglob("*.md"):
            file.write(path, "agentkit/sample" / path.relative_to(ROOT / "workspace"))
    subprocess.run(
        [sys.executable, "-c", IN_A_ZIP], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "agentkit.zip")}, check=True
    )


# -- what is in an agent's folder


def test_files_are_the_very_same_object_until_something_changes(place: Place) -> None:
    place.write(".agents/a/memory/m.md", "one")
    files = place.files()
    assert place.files() is files
    place.write(".agents/a/memory/m.md", "other")
    changed = place.files()
    assert changed is not files and place.memories() == {"m": "other"}
    (place.root / ".agents/a/memory/m.md").unlink()
    assert place.memories() == {}


def test_an_edit_of_the_same_length_in_the_same_moment_counts(place: Place) -> None:
    for round in range(20):
        place.write(".agents/a/memory/m.md", f"{round:03}")
        assert place.memories() == {"m": f"{round:03}"}


@pytest.mark.parametrize(
    "path",
    ["AGENT.md", "TOOLS.md", "USER.md", "AGENTS.md", "memory/m.md", "skills/s/SKILL.md", "../../skills/s/SKILL.md"],
)
def test_what_has_not_changed_is_not_read_again(place: Place, path: str) -> None:
    file = place.write(f".agents/a/{path}", skill("s", "one", "one"))
    agent, files = place.agent(), place.files()
    stamp = file.stat()
    file.write_bytes(file.read_bytes().replace(b"one", b"two"))
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert place.agent() is agent and place.files() is files
    os.utime(file)
    assert (place.agent(), place.files()) != (agent, files)


def test_without_any_of_its_files_an_agent_has_nothing(place: Place) -> None:
    files = place.files()
    assert (files.guidelines, files.skills, files.memories, files.bootstrap) == ("", (), (), ())
    assert place.workspace.notices() == []


def test_many_threads_may_look_at_once(place: Place) -> None:
    for number in range(50):
        place.write(f".agents/a/memory/m{number}.md", f"memory {number}")
    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(lambda _: place.files(), range(64)))
    assert len({id(each) for each in seen}) == 1
    assert len(seen[0].memories) == 50


# -- skills


def test_a_skill_is_a_folder_with_a_description(place: Place) -> None:
    file = place.write(".agents/a/skills/x/SKILL.md", skill("x", "Use when: asked\n  for x", "# Do\n\nthis\n"))
    place.write(".agents/a/skills/Some Name/SKILL.md", skill("", "no name"))
    place.write(".agents/a/skills/other/SKILL.md", skill("Their Name", "another\nlicense: MIT\nmetadata:\n  a: [b]"))
    place.write(".agents/a/skills/none/README.md", "no skill")
    place.write(".agents/a/skills/.off/SKILL.md", skill("off", "hidden"))
    place.write(".agents/a/skills/stray.md", "no skill")
    assert place.skills() == {"some-name": "no name", "their-name": "another", "x": "Use when: asked for x"}
    found = next(each for each in place.files().skills if each.name == "x")
    assert found.path == file and body(found) == "# Do\n\nthis"
    assert place.workspace.notices() == []


def test_of_two_skills_with_one_name_the_agents_own_wins_then_the_workspaces(place: Place) -> None:
    for number, skills in enumerate(["workspace/.agents/a/skills", "workspace/skills", "../home/.agents/skills"]):
        for name in "xyz"[number:] if number else "x":
            place.write(f"../{skills}/{name}/SKILL.md", skill(name, f"from {number}"))
    assert place.skills() == {"x": "from 0", "y": "from 1", "z": "from 1"}


def test_the_skills_at_home_count_where_there_is_a_home(place: Place) -> None:
    place.write("../../home/.agents/skills/h/SKILL.md", skill("h", "home"))
    assert place.skills() == {"h": "home"}
    homeless = Workspace(place.root, place.cwd)
    assert homeless.files(homeless.agents()["a"]).skills == ()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no front matter", "no description"),
        (b"---\nname: x\ndescription:\n---\n", "no description"),
        (b"---\nname: x\ndescription: [a]\n---\n", "description is a list"),
        (b"---\nname: ../x\ndescription: d\n---\n", "its name"),
        (b"---\nname: a/b\ndescription: d\n---\n", "its name"),
        (b"---\nname: " + b"x" * 65 + b"\ndescription: d\n---\n", "its name"),
        (b"---\nname: x\n", "line 1"),
        (b"\xff", "line 1 is not UTF-8"),
    ],
)
def test_a_broken_skill_is_told_and_its_siblings_load(place: Place, content: bytes, why: str) -> None:
    place.write(".agents/a/skills/broken/SKILL.md", content)
    place.write(".agents/a/skills/good/SKILL.md", skill("good", "works"))
    assert place.skills() == {"good": "works"}
    [notice] = place.workspace.notices()
    assert notice.startswith("workspace/.agents/a/skills/broken/SKILL.md: ") and why in notice


def test_a_long_description_is_cut_to_what_the_format_allows(place: Place) -> None:
    place.write(".agents/a/skills/x/SKILL.md", skill("x", "word " * 400))
    description = place.skills()["x"]
    assert len(description) <= 1024 and description.endswith("…")


def test_a_skill_that_is_gone_when_it_is_used_is_an_error_that_says_so(place: Place) -> None:
    file = place.write(".agents/a/skills/x/SKILL.md", skill("x", "d"))
    [found] = place.files().skills
    file.write_bytes(b"\xff")
    with pytest.raises(AgentkitError, match="UTF-8"):
        body(found)
    file.unlink()
    with pytest.raises(AgentkitError, match="No such file"):
        body(found)


# -- memories


@pytest.mark.parametrize(
    ("content", "tldr"),
    [
        ("", "m"),
        ("\n \n#\n##  \n", "m"),
        ("first line\nsecond", "first line"),
        ("\ufeff\r\n\r\n# A  title\r\n\r\ntext", "A title"),
        ("\n#hash\n", "hash"),
        ("# Title\n\nTLDR: the point\n", "the point"),
        ("# Title\n\ntl;dr :  the point", "the point"),
        ("text\n\n> **TLDR:** the *point*", "the *point*"),
        ("text\n\n**TLDR: the point**", "the point"),
        ("## TLDR\n\nthe point\n\nmore", "the point"),
        ("- Tldr:\n  the point", "the point"),
        ("TLDRs are short\n", "TLDRs are short"),
        ("---\ntldr: from: above\n---\nTLDR: below", "from: above"),
        ("---\nTLDR: from\n  above\n---\n", "from above"),
        ("---\nsummary: from above\n---\n", "from above"),
        ("---\nDescription: from above\n---\n", "from above"),
        ("---\ndescription: later\ntldr: sooner\n---\n", "sooner"),
        ("---\ntldr:\nother: x\n---\n\n# Title\n", "Title"),
        ("---\ntldr: [a]\n---\n# Title\n", "Title"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_the_tldr_of_a_memory(place: Place, content: str, tldr: str) -> None:
    place.write(".agents/a/memory/m.md", content)
    assert place.memories() == {"m": tldr}
    assert place.workspace.notices() == []


def test_a_memory_is_a_markdown_file_and_nothing_else(place: Place) -> None:
    file = place.write(".agents/a/memory/b.md", "b")
    place.write(".agents/a/memory/a.b.md", "a")
    for name in (".hidden.md", "x.md~", "#x.md#", "x.txt", "x.md.swp", "folder/x.md"):
        place.write(f".agents/a/memory/{name}", "no memory")
    os.symlink("nowhere", place.root / ".agents/a/memory/.#b.md")
    assert [each.name for each in place.files().memories] == ["a.b", "b"]
    assert place.files().memories[1] == Memory("b", "b", file)
    assert place.workspace.notices() == []


def test_a_memory_may_have_any_name(place: Place) -> None:
    place.write(".agents/a/memory/two\nlines.md", "x")
    place.write(".agents/a/memory/日本語.md", "y")
    assert place.memories() == {"two lines": "x", "日本語": "y"}


def test_what_is_no_regular_file_is_told_and_nobody_waits_for_it(place: Place) -> None:
    place.write(".agents/a/memory/good.md", "good")
    os.mkfifo(place.root / ".agents/a/memory/pipe.md")
    (place.root / ".agents/a/memory/folder.md").mkdir()
    os.symlink("nowhere", place.root / ".agents/a/memory/dangling.md")
    os.symlink("loop.md", place.root / ".agents/a/memory/loop.md")
    for name in ("TOOLS.md", "USER.md"):
        os.mkfifo(place.root / ".agents/a" / name)
    for _ in range(2):
        assert place.memories() == {"good": "good"}
    assert place.files() is place.files()
    notices = place.workspace.notices()
    for name in ("pipe.md", "folder.md", "dangling.md", "loop.md", "TOOLS.md", "USER.md"):
        assert len([each for each in notices if name in each]) == 1
    assert len(notices) == 6


@pytest.mark.parametrize("name", ["memory", "skills"])
def test_a_file_in_place_of_a_folder_holds_nothing(place: Place, name: str) -> None:
    place.write(f".agents/a/{name}", "a file")
    assert place.files().memories == () and place.files().skills == ()
    assert place.workspace.notices() == []


@NOT_ROOT
def test_what_may_not_be_read_is_told_and_tried_again(place: Place, unreadable: list[Path]) -> None:
    file = place.write(".agents/a/memory/m.md", "text")
    folder = place.write(".agents/a/skills/x/SKILL.md", skill("x", "d")).parent.parent
    for path in (file, folder):
        path.chmod(0)
        unreadable.append(path)
    for _ in range(3):
        assert place.memories() == {} and place.skills() == {}
    notices = place.workspace.notices()
    assert len(notices) == 2 and all("Permission denied" in each for each in notices)
    file.chmod(0o644)
    folder.chmod(0o755)
    assert place.memories() == {"m": "text"} and place.skills() == {"x": "d"}
    assert place.workspace.notices() == []


# -- bootstrap files


def test_bootstrap_files_come_in_their_order_with_their_paths(place: Place) -> None:
    for name in ("AGENTS.md", "BOOTSTRAP.md", "USER.md", "TOOLS.md", "HEARTBEAT.md"):
        place.write(f".agents/a/{name}", f"\n{name} of a\n")
    place.write("../AGENTS.md", "AGENTS.md of here")
    files = place.files()
    assert files.guidelines == "TOOLS.md of a"
    assert files.bootstrap == (
        ("workspace/.agents/a/USER.md", "USER.md of a"),
        ("workspace/.agents/a/BOOTSTRAP.md", "BOOTSTRAP.md of a"),
        ("workspace/.agents/a/AGENTS.md", "AGENTS.md of a"),
        ("AGENTS.md", "AGENTS.md of here"),
    )


def test_one_file_is_not_in_the_prompt_twice(place: Place) -> None:
    own = place.write(".agents/a/AGENTS.md", "one")
    os.symlink(own, place.cwd / "AGENTS.md")
    assert [text for _, text in place.files().bootstrap] == ["one"]
    inside = Workspace(place.root, own.parent)
    assert [text for _, text in inside.files(inside.agents()["a"]).bootstrap] == ["one"]


def test_a_blank_bootstrap_file_is_left_out(place: Place) -> None:
    place.write(".agents/a/USER.md", " \n\n")
    assert place.files().bootstrap == ()


def test_a_long_file_is_cut_at_a_line_and_says_where_the_rest_is(place: Place) -> None:
    line = "A line of this file, which is not a short one.\n"
    names = ("USER.md", "BOOTSTRAP.md", "AGENTS.md", "TOOLS.md")
    for path in (*(f".agents/a/{name}" for name in names), "../AGENTS.md"):
        place.write(path, line * 2000)
    files = place.files()
    texts = dict(files.bootstrap)
    for name, text in texts.items():
        *kept, note = text.split("\n")
        assert set(kept) == {line.strip()}
        left = len(line) * 2000 - 1 - len("\n".join(kept))
        assert note == f"[{left:,} characters more: read {name}]"
    assert all(LONGEST - 100 < len(text) <= LONGEST for text in (*texts.values(), files.guidelines))
    assert sum(map(len, texts.values())) + len(files.guidelines) <= 150_000


def test_a_long_line_is_cut_where_it_must_be(place: Place) -> None:
    place.write(".agents/{b}/AGENT.md", "You are b.")
    place.write(".agents/{b}/USER.md", "short\n" + "x" * 50_000)
    [(_, text)] = place.files("b").bootstrap
    assert LONGEST - 10 < len(text) <= LONGEST
    assert text.endswith("characters more: read workspace/.agents/{b}/USER.md]")
