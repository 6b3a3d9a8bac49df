"""What becomes of a message in a session: turns and the commands about conversations."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from agentkit.cancel import Cancel
from agentkit.events import Answer, Ask, Done, Error, Event, Inbound, Notice
from agentkit.node import Run
from agentkit.session import Opening, Session

from .scripted import Scripted, say, session


def answer(talk: Session, text: str) -> str:
    """What a message is answered with; it must not fail."""
    ending = say(talk, text)[-1]
    assert isinstance(ending, Done), ending
    return ending.text


def refusal(talk: Session, text: str) -> str:
    ending = say(talk, text)[-1]
    assert isinstance(ending, Error), ending
    assert ending.category == "bad_request"
    return ending.message


def labels(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "sessions").glob("*.jsonl"))


def test_a_chat_saves_itself_from_its_first_message(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted())
    assert labels(tmp_path) == []
    answer(talk, "hello")
    (label,) = labels(tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{4}", label)
    assert (tmp_path / "sessions" / "current").read_text() == f"{label}\n"


def test_a_conversation_goes_on_where_it_was_left(tmp_path: Path) -> None:
    first = session(tmp_path, Scripted())
    answer(first, "my name is Ann")
    first.close()
    model = Scripted()
    again = session(tmp_path, model, opening=Opening(resume=True))
    answer(again, "who am I?")
    assert model.seen[-1] == ["my name is Ann", "You said: my name is Ann", "who am I?"]
    assert len(labels(tmp_path)) == 1


def test_a_new_start_without_resuming_is_a_new_conversation(tmp_path: Path) -> None:
    answer(session(tmp_path, Scripted()), "one")
    answer(session(tmp_path, Scripted()), "two")
    assert len(labels(tmp_path)) == 2


def test_a_conversation_of_that_label_is_continued_or_made(tmp_path: Path) -> None:
    for text in ("one", "two"):
        model = Scripted()
        talk = session(tmp_path, model, opening=Opening("fix-login"))
        answer(talk, text)
        talk.close()
    assert labels(tmp_path) == ["fix-login"]
    assert model.seen[-1][0] == "one"


def test_a_run_leaves_the_current_conversation_alone(tmp_path: Path) -> None:
    chat = session(tmp_path, Scripted(), opening=Opening("chat"))
    answer(chat, "hello")
    answer(session(tmp_path, Scripted(), opening=Opening(follow=False)), "a question in between")
    assert chat.archive.current == "chat"


def test_a_command_of_a_run_works_on_the_current_conversation(tmp_path: Path) -> None:
    chat = session(tmp_path, Scripted(), opening=Opening("chat"))
    answer(chat, "hello")
    chat.close()
    run = session(tmp_path, Scripted(), opening=Opening(follow=False))
    assert "You said: hello" in answer(run, "/history")


def test_new_begins_another_conversation_and_load_goes_back(tmp_path: Path) -> None:
    model = Scripted()
    talk = session(tmp_path, model)
    answer(talk, "/new alpha")
    answer(talk, "first")
    answer(talk, "/new beta")
    answer(talk, "second")
    assert model.seen[-1] == ["second"]
    assert "2 messages" in answer(talk, "/load al")
    answer(talk, "third")
    assert model.seen[-1] == ["first", "You said: first", "third"]
    assert talk.archive.current == "alpha"
    assert labels(tmp_path) == ["alpha", "beta"]


def test_new_under_a_label_that_is_taken_is_refused(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted(), opening=Opening("alpha"))
    answer(talk, "hi")
    assert "/load alpha" in refusal(talk, "/new alpha")


def test_save_names_the_conversation_and_refuses_a_name_that_is_taken(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted())
    answer(talk, "hi")
    answer(talk, "/save Fix the login!")
    assert labels(tmp_path) == ["Fix-the-login"]
    assert talk.archive.current == "Fix-the-login"
    answer(talk, "/new other")
    answer(talk, "hi")
    assert "another label" in refusal(talk, "/save Fix the login!")
    assert labels(tmp_path) == ["Fix-the-login", "other"]


def test_save_without_a_label_takes_the_first_words(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted())
    assert "/save LABEL" in refusal(talk, "/save")
    answer(talk, "Why does test_login fail on Fridays only?")
    answer(talk, "/save")
    assert labels(tmp_path) == ["Why-does-test_login-fail-on-Fridays"]


def test_a_conversation_can_be_named_before_anything_is_said(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted())
    answer(talk, "/save early")
    answer(talk, "hi")
    assert labels(tmp_path) == ["early"]


@pytest.mark.parametrize("label", ["../../evil", "a/b", "/etc/passwd", "..", ".hidden", "x" * 300, "CON", "nul\0l"])
def test_a_label_never_leads_out_of_its_folder(tmp_path: Path, label: str) -> None:
    talk = session(tmp_path, Scripted())
    say(talk, f"/new {label}")
    answer(talk, "hi")
    answer(talk, f"/save x{label}")
    assert len(labels(tmp_path)) == 1
    assert sorted(os.listdir(tmp_path)) == ["sessions"]


def test_load_without_a_clear_label_lists_what_there_is(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted())
    for label in ("fix-a", "fix-b"):
        answer(talk, f"/new {label}")
        answer(talk, "hi")
    assert "fix-b, fix-a" in refusal(talk, "/load fix") or "fix-a, fix-b" in refusal(talk, "/load fix")
    assert "/list" in refusal(talk, "/load")
    assert talk.conversation.label == "fix-b"


def test_list_shows_the_current_one_and_the_newest_first(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted())
    assert answer(talk, "/list") == "There is no conversation yet."
    for at, label in enumerate(("old", "new")):
        answer(talk, f"/new {label}")
        answer(talk, "hi")
        os.utime(talk.conversation.path, (1_700_000_000 + at, 1_700_000_000 + at))
    head, first, second = answer(talk, "/list").split("\n")
    assert head.split() == ["label", "messages", "last", "used", "tokens"]
    assert first.split()[:3] == ["*", "new", "2"] and second.split()[:2] == ["old", "2"]


def test_delete_asks_and_does_nothing_when_it_is_refused(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted(), opening=Opening("precious"))
    answer(talk, "hi")
    ending = say(talk, "/delete precious", "deny")[-1]
    assert isinstance(ending, Error) and "not deleted" in ending.message
    assert labels(tmp_path) == ["precious"]
    assert "/delete LABEL" in refusal(talk, "/delete")


def test_the_open_conversation_can_be_deleted_and_the_chat_goes_on(tmp_path: Path) -> None:
    model = Scripted()
    talk = session(tmp_path, model, opening=Opening("gone"))
    answer(talk, "a secret")
    answer(talk, "/delete gone")
    assert labels(tmp_path) == []
    answer(talk, "hello")
    assert model.seen[-1] == ["hello"]


def test_what_delete_asks_names_the_conversation(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted(), opening=Opening("precious"))
    answer(talk, "hi")
    asked: list[Ask] = []

    def ask(question: Ask) -> Answer:
        asked.append(question)
        return Answer("deny")

    talk.take(Inbound("/delete prec", "cli", "ann"), Run(lambda event: None, ask, Cancel()))
    assert "precious" in asked[0].summary


def test_export_writes_markdown_and_never_over_a_file(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted(), opening=Opening("talk"))
    assert "There is nothing in" in refusal(talk, "/export")
    answer(talk, "hello *there*")
    export = "/export out.md"
    answer(talk, export)
    text = (tmp_path / "out.md").read_text()
    assert (
        text.startswith("# talk\n") and "## You, 20" in text and "hello *there*" in text and "## Assistant (m)" in text
    )
    assert "already" in refusal(talk, export)
    assert (tmp_path / "out.md").read_text() == text


@pytest.mark.parametrize("path", ["/etc/out.md", "../out.md", ".env", "nowhere/out.md", "a\0b"])
def test_export_stays_where_files_may_be_written(tmp_path: Path, path: str) -> None:
    (tmp_path / "in").mkdir()
    talk = session(tmp_path / "in", Scripted())
    answer(talk, "hi")
    assert "cannot be written" in refusal(talk, f"/export {path}")


def test_history_shows_the_last_messages_and_says_how_many_there_are(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted())
    for number in range(4):
        answer(talk, f"message {number}")
    shown = answer(talk, "/history 3")
    assert "(5 before these" in shown and "message 3" in shown and "user: message 2" not in shown
    assert "0 is not a number" in refusal(talk, "/history 0")
    assert "not a number" in refusal(talk, "/history many")


def test_rewind_takes_turns_back_for_good(tmp_path: Path) -> None:
    model = Scripted()
    talk = session(tmp_path, model, opening=Opening("talk"))
    assert "nothing to take back" in refusal(talk, "/rewind")
    for text in ("one", "two", "three"):
        answer(talk, text)
    assert "two" in answer(talk, "/rewind 2")
    assert "/rewind 1 takes" in refusal(talk, "/rewind 2")
    answer(talk, "four")
    assert model.seen[-1] == ["one", "You said: one", "four"]
    talk.close()
    answer(session(tmp_path, model, opening=Opening("talk")), "five")
    assert model.seen[-1] == ["one", "You said: one", "four", "You said: four", "five"]


def test_retry_asks_the_last_message_again(tmp_path: Path) -> None:
    model = Scripted()
    talk = session(tmp_path, model)
    assert "nothing to take back" in refusal(talk, "/retry")
    answer(talk, "one")
    answer(talk, "//two")
    answer(talk, "/retry")
    assert model.seen[-1] == model.seen[-2] == ["one", "You said: one", "/two"]


def test_turns_before_a_compaction_can_be_taken_back_too(tmp_path: Path) -> None:
    model = Scripted()
    talk = session(tmp_path, model, opening=Opening("talk"))
    for number in range(6):
        answer(talk, f"message {number} " + "plum " * 200)
    answer(talk, "/compact")
    assert len(talk.store.context.messages) < 12
    answer(talk, "/rewind 5")
    answer(talk, "next")
    assert [text[:9] for text in model.seen[-1]] == ["message 0", "You said:", "next"]
    talk.close()
    again = session(tmp_path, model, opening=Opening("talk"))
    answer(again, "after")
    assert [text[:9] for text in model.seen[-1]] == ["message 0", "You said:", "next", "You said:", "after"]


def test_export_and_history_show_what_a_compaction_has_replaced(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted())
    for number in range(6):
        answer(talk, f"message {number} " + "plum " * 200)
    answer(talk, "/compact")
    assert "message 0" in answer(talk, "/history 99")


def test_there_is_nothing_to_compact_in_a_short_conversation(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted())
    answer(talk, "hi")
    assert "nothing to compact" in refusal(talk, "/compact").casefold()


def test_a_conversation_that_is_open_elsewhere_can_be_read_but_not_continued(tmp_path: Path) -> None:
    holder = session(tmp_path, Scripted(), opening=Opening("held"))
    answer(holder, "mine")
    other = session(tmp_path, Scripted(), opening=Opening("held"))
    events = say(other, "hello")
    assert any(isinstance(each, Notice) and "another process" in each.text for each in events)
    assert isinstance(events[-1], Error) and "/new" in events[-1].message
    assert "mine" in answer(other, "/history")
    for command in ("/rewind", "/retry", "/save x", "/compact", "/delete held"):
        assert "another process" in refusal(other, command), command
    answer(other, "/new")
    answer(other, "hello")
    assert "hello" not in holder.conversation.path.read_text()


def test_a_broken_line_is_told_when_the_conversation_is_opened(tmp_path: Path) -> None:
    talk = session(tmp_path, Scripted(), opening=Opening("talk"))
    answer(talk, "hi")
    talk.close()
    with talk.conversation.path.open("a") as file:
        file.write('{"role":"us')
    events: list[Event] = say(session(tmp_path, Scripted(), opening=Opening("talk")), "again")
    assert any(isinstance(each, Notice) and "1 line of it is broken" in each.text for each in events)
    assert isinstance(events[-1], Done)


def test_an_unknown_command_names_the_nearest_and_a_double_slash_is_a_message(tmp_path: Path) -> None:
    model = Scripted()
    talk = session(tmp_path, model)
    assert "/rewind" in refusal(talk, "/rewnd")
    assert "/help" in refusal(talk, "/xyzzy")
    answer(talk, "//etc is a folder")
    assert model.seen[-1] == ["/etc is a folder"]
