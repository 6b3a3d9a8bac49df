"""What Tab offers: commands, their words, conversations, agents, skills, files after an @; and the popup it is in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit import App
from agentkit.channels.tui.popup import Popup
from agentkit.channels.tui.wrap import width
from agentkit.command import Command, Commands
from agentkit.completion import MOST, Choice, Completion, fitting
from agentkit.events import Inbound
from agentkit.paths import begun
from agentkit.settings import Settings
from agentkit.toolbox import Scope

from .beating import Person
from .loopback import Loopback, Request, Response, text_stream

ME = Inbound("", "cli", "cli-user")


def echo(request: Request, index: int) -> Response:
    return text_stream("You said: ", request.said[-1])


class World:
    """A running program whose working directory is `folder`, and somebody who talks with it."""

    def __init__(self, folder: Path, server: Loopback) -> None:
        self.folder, self.person = folder, Person()
        for agent in ("assistant", "second"):
            self.write(f"workspace/.agents/{agent}/AGENT.md", f"---\nname: The {agent}\n---\nYou are terse.")
        skill = "---\nname: review\ndescription: look at a change\n---\nLook."
        self.write("workspace/.agents/assistant/skills/review/SKILL.md", skill)
        settings = Settings("m", server.url, "", 32_000, llm_fallback_models=("spare",))
        self.app = App(settings, [self.person], environ={"PATH": os.environ["PATH"]})
        self.app.start()

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def complete(self, text: str) -> Completion:
        """What there is for a text with the cursor at the |, or at its end."""
        cursor = text.index("|") if "|" in text else len(text)
        return self.app.complete(ME, text.replace("|", ""), cursor)

    def offered(self, text: str) -> list[str]:
        return [each.text for each in self.complete(text).choices]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    with Loopback(echo) as server:
        made = World(tmp_path, server)
        yield made
        made.app.stop()


# -- commands


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/he", ["/heartbeat ", "/help"]),
        ("/HE", ["/heartbeat ", "/help"]),
        ("/ist", ["/history ", "/list"]),  # none begins so: those that have it within
        ("/rev", ["/review "]),
        ("/help", ["/help"]),
        ("/he|lp me", ["/heartbeat ", "/help"]),
        ("/nothing-like-it", []),
        ("//he", []),
        ("say /he", []),
        ("/etc/pa", []),
        ("\n/he", []),
        ("", []),
    ],
)
def test_a_name_at_the_beginning_is_completed(world: World, text: str, expected: list[str]) -> None:
    assert world.offered(text) == expected


def test_a_slash_alone_offers_all_commands_and_skills_with_what_they_do(world: World) -> None:
    start, choices, is_cut = world.complete("/")
    assert (start, is_cut) == (0, False)
    hints = {each.text.strip(): each.hint for each in choices}
    assert hints["/help"] == "this list" and hints["/review"] == "look at a change"
    assert len(hints) == len(world.app.commands.table) + 1
    assert [*hints] == sorted(hints)


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("/switch ", 8, ["assistant", "second", "off"]),
        ("/switch  sec", 9, ["second"]),
        ("/SWITCH o", 8, ["off"]),
        ("/bind a", 6, ["assistant"]),
        ("/bind assistant cha", 6, []),
        ("/skill ", 7, ["review "]),
        ("/skill review no", 7, []),
        ("/model ", 7, ["m", "spare", "off"]),
        ("/gateway ", 9, ["status", "stop"]),
        ("/discord st", 9, ["status", "stop"]),
        ("/delivery r", 10, ["retry "]),
        ("/heartbeat ", 11, ["stop", "start"]),
        ("/cron r", 6, ["rm ", "run ", "reload"]),
        ("/help ", 6, []),
        ("/no-command ", 12, []),
    ],
)
def test_the_first_argument_is_completed(world: World, text: str, start: int, expected: list[str]) -> None:
    completion = world.complete(text)
    assert (completion.start, [each.text for each in completion.choices]) == (start, expected)


def test_the_model_selected_comes_first(world: World) -> None:
    world.person.say("/model other")
    assert world.offered("/model ") == ["other", "m", "spare", "off"]


def test_conversations_are_offered_the_one_used_last_first(world: World) -> None:
    for label in ("older", "newer"):
        world.person.say(f"/new {label}")
        world.person.say("hello")
    path = next((world.folder / "workspace" / "sessions").glob("*/older.jsonl"))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    completion = world.complete("/load ")
    assert [each.text for each in completion.choices] == ["newer", "older"]
    assert completion.choices[1].hint.startswith("2001-09-")
    assert world.offered("/delete OLD") == ["older"]


def test_an_agent_that_is_gone_has_nothing_to_offer(world: World) -> None:
    gone = Inbound("", "cli", "cli-user", agent="gone")
    assert world.app.complete(gone, "/he", 3) == Completion(3, [])


def test_a_command_says_its_own_choices() -> None:
    table = [Command("tea", "", "", lambda order: "", choices=lambda session: (f"green of {session}", Choice("black")))]
    assert Commands(table).complete("/tea gr", 7, "Ann") == Completion(5, [Choice("green of Ann")])
    assert Commands(table).complete("/tea green o", 12, "Ann").choices == [Choice("green of Ann")]


def test_no_more_is_offered_than_a_person_would_look_through() -> None:
    found = fitting("n", (f"name-{number}" for number in range(1000)), 0)
    assert (len(found.choices), found.is_cut) == (MOST, True)


# -- files


def scope(folder: Path, **more: Any) -> Scope:
    return Scope(roots=(folder.resolve(),), **more)


def names(folder: Path, text: str, **more: Any) -> list[str]:
    found = begun(text, len(text), scope(folder, **more))
    return [each.text for each in found.choices] if found else ["no path"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for path in (
        "src/main.py",
        "src/MAKE.md",
        "src/a b/c.txt",
        "my file.txt",
        "Café.txt",
        ".hidden",
        ".env",
        "ab/.env.x",
    ):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    (tmp_path / ".state").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@src/ma", ["@src/main.py", "@src/MAKE.md"]),
        ("look at @src/mai", ["@src/main.py"]),
        ("(see @src/mai", ["@src/main.py"]),
        ('"@src/mai', ["@src/main.py"]),
        ("a\n@src/mai", ["@src/main.py"]),
        ("@sr", ["@src/"]),
        ("@./sr", ["@./src/"]),
        ("@rc", ["@src/"]),
        ("@cafe\u0301", ["@Café.txt"]),
        ("@my", ['@"my file.txt"']),
        ('@"my f', ['@"my file.txt"']),
        ('@"sr', ['@"src/']),
        ("@src/a", ['@"src/a b/']),
        ('@"src/a b/', ['@"src/a b/c.txt"']),
        ("@.", ["@.hidden"]),
        ("@.e", []),
        ("@.st", []),
        ("@ab/.", []),
        ("@ab/", []),
        ("@nowhere/", []),
        ("@src/main.py/", []),
        ("@../", []),
        ("@/", []),
        ("@\0", []),
        ("me@src/ma", ["no path"]),
        ("@src/main.py and", ["no path"]),
        ("src/ma", ["no path"]),
    ],
)
def test_a_path_after_an_at_is_completed(tree: Path, text: str, expected: list[str]) -> None:
    assert names(tree, text) == expected


def test_what_is_behind_the_cursor_stays_and_a_quote_there_is_not_doubled(tree: Path) -> None:
    text = 'see @"my" please'
    found = begun(text, text.index('" p'), scope(tree))
    assert found is not None
    assert Popup(found, text, text.index('" p')).applied(found.choices[0]) == ('see @"my file.txt" please', 17)


def test_a_folder_is_told_from_a_file(tree: Path) -> None:
    found = begun("@s", 2, scope(tree))
    assert found is not None and found.choices == [Choice("@src/", "folder")]


def test_only_what_may_be_read_is_offered(tree: Path) -> None:
    outside = tree.parent / f"{tree.name}-outside"
    outside.mkdir()
    (outside / "key").write_text("x")
    (tree / "ln-inside").symlink_to("src/main.py")
    (tree / "ln-secret").symlink_to(".env")
    (tree / "ln-outside").symlink_to(outside / "key")
    (tree / "ln-nowhere").symlink_to("gone")
    (tree / "ln-folder").symlink_to(outside)
    (tree / "ln-shut").write_text("x")
    os.mkfifo(tree / "ln-fifo")
    shut = (tree.resolve() / "ln-shut",)
    assert names(tree, "@ln", closed=shut) == ["@ln-inside"]
    assert names(tree, "@ln-folder/", closed=shut) == []
    assert names(tree, f"@{outside}/") == []
    assert names(tree, f"@{outside}/", readable=(outside.resolve(),)) == [f"@{outside}/key"]


def test_a_name_that_cannot_be_typed_is_not_offered(tmp_path: Path) -> None:
    for name in ("x\x1b[2J", "x\ny", "x\u202ey", 'x "quoted"', '"x', "x'y", "x\u00a0y"):
        (tmp_path / name).write_text("")
    (tmp_path / os.fsdecode(b"x\xff")).write_text("")
    assert names(tmp_path, "@") == ["@x'y", '@"x\u00a0y"']


def test_a_large_folder_offers_the_beginning_of_what_there_is(tmp_path: Path) -> None:
    for number in range(5000):
        (tmp_path / f"file-{number:04}").touch()
    found = begun("@fi", 3, scope(tmp_path))
    assert found is not None
    assert (len(found.choices), found.is_cut) == (MOST, True)
    exact = begun("@file-0042", 10, scope(tmp_path))
    assert exact is not None and (exact.is_cut or [each.text for each in exact.choices] == ["@file-0042"])


def test_the_home_folder_is_known_by_its_sign(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree))
    assert names(tree, "@~/sr") == ["@~/src/"]


@pytest.mark.parametrize("text", ["(@" * 50_000, "(@" * 50_000 + " x", '@"' * 50_000, "/" * 100_000, "/a " * 50_000])
def test_a_long_draft_does_not_keep_anybody_waiting(tree: Path, text: str) -> None:
    for cursor in (0, len(text) // 2, len(text), len(text) + 5):
        begun(text, cursor, scope(tree))
        Commands().complete(text, cursor)


def test_files_are_offered_by_the_program_too_but_no_conversation_of_others(world: World) -> None:
    world.write("notes.txt", "x")
    assert world.offered("look @no") == ["@notes.txt"]
    assert world.offered("@workspace/ses") == []
    assert world.offered("@workspace/.sta") == []


# -- the popup


def popup(*texts: str, typed: str = "", is_cut: bool = False, hint: str = "") -> Popup:
    return Popup(Completion(0, [Choice(each, hint) for each in texts], is_cut), typed, len(typed))


def shown(made: Popup, columns: int, height: int) -> list[str]:
    return ["".join(text for text, _ in row) for row in made.rows(columns, height)]


@pytest.mark.parametrize(
    ("typed", "texts", "expected"),
    [
        ("/he", ["/heartbeat ", "/help"], "/he"),
        ("@src/m", ["@src/main.py", "@src/main.pyi"], "@src/main.py"),
        ("b", ["abc", "abd"], "ab"),
        ("ist", ["list", "history"], "ist"),
        ("RE", ["README", "readme"], "RE"),
        ("x", ["xy"], "xy"),
        ("x", [], "x"),
    ],
)
def test_what_all_choices_begin_with_is_clear(typed: str, texts: list[str], expected: str) -> None:
    made = popup(*texts, typed=typed)
    assert made.common == expected
    assert made.completed() == (expected, len(expected))


def test_where_there_is_more_than_is_told_nothing_is_clear() -> None:
    assert popup("name-1", "name-2", typed="n", is_cut=True).common == "n"


def test_a_choice_takes_the_place_of_what_was_typed() -> None:
    completion = Completion(6, [Choice("newer "), Choice("older")])
    made = Popup(completion, "/load ne and", 8)
    assert made.applied(made.choice) == ("/load newer and", 12)
    made.next()
    assert made.applied(made.choice) == ("/load older and", 11)


def test_the_selection_goes_round() -> None:
    made = popup("a", "b", "c")
    made.previous()
    assert made.choice.text == "c"
    made.next()
    assert made.choice.text == "a"


def test_hints_stand_below_one_another_and_the_selected_row_is_marked() -> None:
    made = Popup(Completion(0, [Choice("/help", "this list"), Choice("/heartbeat ", "what goes on")]), "/he", 3)
    assert shown(made, 40, 8) == ["  /help        this list".ljust(40), "  /heartbeat   what goes on".ljust(40)]
    first, second = made.rows(40, 8)
    assert [style for _, style in first] == ["selected", "selected dim"]
    assert [style for _, style in second] == ["popup", "popup dim"]


def test_the_selected_choice_is_in_view_and_the_rest_is_counted() -> None:
    made = popup(*(f"name-{number:02}" for number in range(30)))
    for _ in range(65):
        rows = made.rows(20, 5)
        assert len(rows) == 5
        assert [text for row in rows for text, style in row if style == "selected"] == [
            f"  {made.choice.text}".ljust(20)
        ]
        assert rows[-1] == (("  … 26 more", "dim"),)
        made.previous()
    assert len(made.rows(20, 30)) == 30
    assert shown(popup("a", is_cut=True), 20, 4)[-1] == "  … more"


@pytest.mark.parametrize("columns", [0, 1, 2, 3, 7, 20, 200])
@pytest.mark.parametrize("height", [0, 1, 2, 3, 50])
def test_a_row_is_never_wider_than_the_screen(columns: int, height: int) -> None:
    made = Popup(
        Completion(
            0, [Choice("漢字" * n + "\x1b[2J\n\u202e" + "e\u0301" * n, "wide 漢字\t" * n) for n in range(9)], True
        ),
        "",
        0,
    )
    for _ in range(12):
        rows = made.rows(columns, height)
        assert len(rows) <= height
        assert all(width("".join(text for text, _ in row)) <= columns for row in rows)
        made.next()
    assert Popup(Completion(0, []), "", 0).rows(columns, height) == []
