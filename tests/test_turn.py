"""The agent's loop, against a loopback model: tools, approvals, errors, interruption, and how a turn ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from agentkit import Store, Turn, tool
from agentkit.approval import Approvals, Asker
from agentkit.cancel import Cancel
from agentkit.client import Client
from agentkit.errors import ToolError
from agentkit.events import (
    Answer,
    Ask,
    Done,
    Error,
    Event,
    Interrupted,
    Notice,
    Stopped,
    Text,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from agentkit.llm import LLMCall
from agentkit.node import Run
from agentkit.store import Context, State
from agentkit.toolbox import Scope, Tool
from agentkit.tools import TOOLS
from agentkit.usetool import Toolbox

from .loopback import Loopback, Response, call_stream, event, json_error, text_stream

WAIT = 10.0


class Chat:
    """A conversation with a loopback model: the events, the store, and a person who answers questions."""

    def __init__(
        self, server: Loopback, folder: Path, tools: Iterable[Tool] = (), answer: Answer = Answer("deny")
    ) -> None:
        self.events: list[Event] = []
        self.asked: list[Ask] = []
        self.answer = answer
        self.cancel = Cancel()
        self.on_event: Callable[[Event], object] = lambda event: None
        self.approvals = Approvals("ask")
        self.toolbox = Toolbox(
            {each.name: each for each in (*TOOLS, *tools)}, self.approvals, Scope((folder.resolve(),))
        )
        self.turn = Turn(LLMCall(Client(server.url)), self.toolbox, max_calls=20)
        state = State("agent:assistant:direct:cli-user", "assistant", "m", "cli", "cli-user")
        self.store = Store(Context(tools=self.toolbox.schemas), state)

    def say(self, text: str) -> Event:
        self.store.run = Run(self._publish, self._ask, self.cancel)
        self.store.append({"role": "user", "content": text})
        return self.turn.run(self.store)

    def _publish(self, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)

    def _ask(self, ask: Ask) -> Answer:
        who = Asker(self.store.state.session, "cli", "cli-user")

        def show(ask: Ask) -> None:
            self.asked.append(ask)
            self._publish(ask)
            assert self.approvals.answer("cli", "cli-user", ask.id, self.answer)

        return self.approvals.ask(ask, who, show, self.cancel)

    def kinds(self) -> list[str]:
        return [event.type for event in self.events]

    def messages(self) -> list[tuple[str, Any]]:
        return [(message["role"], message["content"]) for message in self.store.context.messages]

    def finished(self) -> list[ToolFinished]:
        return [event for event in self.events if isinstance(event, ToolFinished)]


def test_an_answer_streams_and_ends_with_done(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    with Loopback([text_stream("Hello", " world", usage=usage, gap=0.02)]) as server:
        chat = Chat(server, tmp_path)
        ending = chat.say("hi")
    assert chat.kinds() == ["turn_started", "text", "text", "done"]
    assert chat.events[0] == TurnStarted("assistant", "m")
    assert isinstance(ending, Done)
    assert (ending.text, ending.model, ending.usage) == ("Hello world", "m", usage)
    assert chat.messages() == [("user", "hi"), ("assistant", "Hello world")]


def test_a_tool_is_called_its_result_comes_back_and_the_model_goes_on(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("the secret word is plum\n")
    replies = [call_stream(("read_file", {"path": "notes.txt"})), text_stream("It is plum.")]
    with Loopback(replies) as server:
        chat = Chat(server, tmp_path)
        assert isinstance(chat.say("which word?"), Done)
        second = server.requests[1].json["messages"]
    assert chat.kinds() == ["turn_started", "tool_started", "tool_finished", "text", "done"]
    assert second[-2]["tool_calls"][0]["function"]["name"] == "read_file"
    assert second[-1]["role"] == "tool" and "plum" in second[-1]["content"]
    assert second[-1]["tool_call_id"] == second[-2]["tool_calls"][0]["id"]


@pytest.mark.parametrize(
    ("answer", "ran"),
    [
        (Answer("allow"), True),
        (Answer("always"), True),
        (Answer("deny"), False),
        (Answer("deny", "use another name"), False),
    ],
)
def test_a_tool_that_asks_runs_only_when_it_is_allowed(tmp_path: Path, answer: Answer, ran: bool) -> None:
    replies = [call_stream(("bash", {"command": "echo made > made.txt"})), text_stream("Well.")]
    with Loopback(replies) as server:
        chat = Chat(server, tmp_path, answer=answer)
        assert isinstance(chat.say("make it"), Done)
        result = server.requests[1].json["messages"][-1]["content"]
    assert (tmp_path / "made.txt").exists() is ran
    assert "echo made > made.txt" in chat.asked[0].summary
    assert chat.kinds() == ["turn_started", "tool_started", "ask", "tool_finished", "text", "done"]
    assert ("refused" in result) is not ran
    assert answer.reason in result


def test_always_holds_for_the_tool_and_can_be_taken_back(tmp_path: Path) -> None:
    replies = [call_stream(("bash", {"command": f"echo {n}"})) for n in range(3)]
    with Loopback([each for reply in replies for each in (reply, text_stream("ok"))]) as server:
        chat = Chat(server, tmp_path, answer=Answer("always"))
        chat.say("one")
        chat.say("two")
        assert len(chat.asked) == 1
        who = Asker(chat.store.state.session, "cli", "cli-user")
        assert chat.approvals.allowed(who) == ["bash"]
        assert chat.approvals.revoke(who, "bash")
        chat.say("three")
        assert len(chat.asked) == 2


def test_only_the_person_who_was_asked_can_answer() -> None:
    approvals, answers = Approvals(), []

    def show(ask: Ask) -> None:
        answers.append(approvals.answer("discord", "cli-user", ask.id, Answer("allow")))
        answers.append(approvals.answer("cli", "stranger", ask.id, Answer("allow")))
        answers.append(approvals.answer("cli", "me", "another", Answer("allow")))
        answers.append(approvals.answer("cli", "me", ask.id, Answer("deny", "no")))

    ask = Ask("bash", "ls")
    assert approvals.ask(ask, Asker("s", "cli", "me"), show, Cancel()) == Answer("deny", "no")
    assert answers == [False, False, False, True]
    assert not approvals.answer("cli", "me", ask.id, Answer("allow"))


def test_no_answer_in_time_is_a_refusal() -> None:
    answer = Approvals().ask(Ask("bash", "ls"), Asker("s", "c", "p"), lambda ask: None, Cancel(), limit=0.01)
    assert answer.decision == "deny" and "0.01 s" in answer.reason


@pytest.mark.parametrize(
    ("mode", "name", "path", "due"),
    [
        ("ask", "write_file", "/w/a.txt", True),
        ("auto", "write_file", "/w/a.txt", False),
        ("auto", "edit_file", "/w/.agents/assistant/AGENT.md", True),
        ("auto", "write_file", "/w/skills/x/skill.MD", True),
        ("auto", "write_file", "/w/CRON.json", True),
        ("auto", "bash", None, True),
        ("auto", "cron", None, True),
        ("auto", "my_own_tool_that_asks", None, True),
        ("trust", "bash", None, False),
    ],
)
def test_what_must_be_asked_follows_the_mode(mode: str, name: str, path: str | None, due: bool) -> None:
    assert Approvals(mode).due(Asker("s", "c", "p"), name, lambda: path) is due


def test_a_link_to_a_steering_file_asks_in_auto_mode_too(tmp_path: Path) -> None:
    (tmp_path / "AGENT.md").write_text("be good")
    (tmp_path / "notes.md").symlink_to("AGENT.md")
    replies = [call_stream(("write_file", {"path": "notes.md", "content": "be bad"})), text_stream("ok")]
    with Loopback(replies) as server:
        chat = Chat(server, tmp_path)
        chat.approvals.mode = "auto"
        chat.say("go")
    assert len(chat.asked) == 1
    assert (tmp_path / "AGENT.md").read_text() == "be good"


def test_an_edit_that_cannot_work_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    replies = [call_stream(("edit_file", {"path": "a.txt", "old": "two", "new": "three"})), text_stream("ok")]
    with Loopback(replies) as server:
        chat = Chat(server, tmp_path, answer=Answer("allow"))
        chat.say("go")
    assert chat.asked == []
    assert not chat.finished()[0].ok


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("no_such_tool", "{}", "there is no tool"),
        ("read_file", "{broken", "not valid JSON"),
        ("read_file", "[1]", "must be a JSON object"),
        ("read_file", "", "needs path"),
        ("read_file", '{"file":"x"}', "no parameter file"),
        ("read_file", '{"path":"x","limit":"many"}', "limit must be of type integer"),
        ("read_file", '{"path":"missing.txt"}', "missing.txt"),
        ("fails", "{}", "ZeroDivisionError"),
        ("exits", "{}", "SystemExit"),
        ("refuses", "{}", "try the other door"),
    ],
)
def test_whatever_is_wrong_with_a_call_the_model_reads_it_and_the_turn_goes_on(
    tmp_path: Path, name: str, arguments: str, says: str
) -> None:
    with Loopback([call_stream((name, arguments)), text_stream("I see.")]) as server:
        chat = Chat(server, tmp_path, [fails, exits, refuses])
        assert isinstance(chat.say("go"), Done)
        result = server.requests[1].json["messages"][-1]
    assert result["role"] == "tool" and says in result["content"]
    assert [event.ok for event in chat.finished()] == [False]


@tool
def fails() -> float:
    """Always fails."""
    return 1 / 0


@tool
def exits() -> None:
    """Tries to end the program."""
    raise SystemExit(3)


@tool
def refuses() -> None:
    """Says why not."""
    raise ToolError("try the other door")


def test_a_model_that_sends_numbers_as_text_is_understood(tmp_path: Path) -> None:
    @tool
    def repeat(text: str, times: int, loud: bool = False) -> str:
        """Repeat a text."""
        return " ".join([text.upper() if loud else text] * times)

    arguments = {"text": 7, "times": "3", "loud": "True"}
    with Loopback([call_stream(("repeat", arguments)), text_stream("ok")]) as server:
        chat = Chat(server, tmp_path, [repeat])
        chat.say("go")
    assert chat.finished()[0].output == "7 7 7"


def test_calls_that_only_read_run_side_by_side_and_are_answered_in_order(tmp_path: Path) -> None:
    meet, order = threading.Barrier(3), []

    @tool(read_only=True)
    def look(at: int) -> str:
        """Look."""
        meet.wait(WAIT)
        return f"saw {at}"

    @tool
    def change() -> str:
        """Change something."""
        order.append("changed")
        return "changed"

    calls = [("look", {"at": n}) for n in range(3)]
    with Loopback([call_stream(*calls, ("change", {})), text_stream("ok")]) as server:
        chat = Chat(server, tmp_path, [look, change])
        chat.say("go")
        results = [message["content"] for message in server.requests[1].json["messages"] if message["role"] == "tool"]
    assert results == ["saw 0", "saw 1", "saw 2", "changed"]
    assert order == ["changed"]


def test_a_call_that_writes_waits_for_those_before_it_and_holds_those_after_it(tmp_path: Path) -> None:
    calls = [
        ("write_file", {"path": "a.txt", "content": "1"}),
        ("read_file", {"path": "a.txt"}),
        ("write_file", {"path": "a.txt", "content": "2"}),
        ("read_file", {"path": "a.txt"}),
    ]
    with Loopback([call_stream(*calls), text_stream("ok")]) as server:
        chat = Chat(server, tmp_path, answer=Answer("allow"))
        chat.say("go")
    reads = [event.output for event in chat.finished() if event.name == "read_file"]
    assert ["1" in reads[0].split("\t")[1], "2" in reads[1].split("\t")[1]] == [True, True]


# -- ends


def test_the_limit_of_model_calls_ends_a_turn_with_a_notice(tmp_path: Path) -> None:
    with Loopback(lambda request, index: call_stream(("list_dir", {"path": f"{index}"}))) as server:
        chat = Chat(server, tmp_path)
        ending = chat.say("go")
        assert len(server.requests) == 20
    assert isinstance(ending, Stopped) and "20 model calls" in ending.text and ending.record()["type"] == "done"
    notices = [event for event in chat.events if isinstance(event, Notice)]
    assert "MAX_MODEL_CALLS" in notices[-1].text and notices[-1].level == "error"


def test_the_same_call_over_and_over_is_stopped_with_a_notice(tmp_path: Path) -> None:
    with Loopback(lambda request, index: call_stream(("list_dir", {"path": "."}), text="Looking.")) as server:
        chat = Chat(server, tmp_path)
        ending = chat.say("go")
        assert len(server.requests) == 5
    assert isinstance(ending, Stopped) and ending.text == "stopped: list_dir was called 5 times with the same arguments"
    assert len(chat.finished()) == 4
    assert "5 times" in [event for event in chat.events if isinstance(event, Notice)][-1].text
    assert chat.messages()[-1][1].startswith("[stopped")


def test_a_failed_reply_leaves_nothing_behind_and_the_chat_goes_on(tmp_path: Path) -> None:
    cut = Response(chunks=[event({"content": "Hel"})], end="cut")
    with Loopback([cut, json_error(401, "bad key"), text_stream("Hi")]) as server:
        chat = Chat(server, tmp_path)
        first, second = chat.say("one"), chat.say("two")
        assert isinstance(first, Error) and first.category == "network"
        assert isinstance(second, Error) and second.category == "auth"
        assert isinstance(chat.say("three"), Done)
        sent = server.requests[2].said
    assert sent == ["one", "[no answer: network]", "two", "[no answer: auth]", "three"]
    assert sum(kind in ("done", "error", "interrupted") for kind in chat.kinds()) == 3


@pytest.mark.parametrize("when", ["before-headers", "mid-stream"])
def test_an_interrupted_answer_keeps_what_was_shown(tmp_path: Path, when: str) -> None:
    arrived = threading.Event()
    answer = Response(
        chunks=[event({"content": "Hel"})],
        end="hang",
        before_headers=threading.Event() if when == "before-headers" else None,
    )

    def script(request: Any, index: int) -> Response:
        arrived.set()
        return answer if index == 0 else text_stream("Hi")

    with Loopback(script) as server:
        chat = Chat(server, tmp_path)
        seen = threading.Event()
        chat.on_event = lambda event: seen.set() if isinstance(event, Text) else None
        interrupt(chat, arrived if when == "before-headers" else seen)
        ending = chat.say("one")
        said = "" if when == "before-headers" else "Hel"
        assert ending == Interrupted(said)
        chat.cancel = Cancel()
        assert isinstance(chat.say("two"), Done)
    last = chat.store.context.messages
    assert [message["content"] for message in last] == ["one", said or "[interrupted]", "two", "Hi"]
    assert last[1]["interrupted"]


@pytest.mark.parametrize("how", ["listens", "never looks", "sleep 1000", "trap '' TERM; sleep 1000", "asks"])
def test_an_interrupted_tool_leaves_one_result_for_each_call(tmp_path: Path, how: str) -> None:
    release = threading.Event()

    @tool
    def never_looks() -> str:
        """Blocks."""
        release.wait(WAIT)
        return "too late"

    @tool
    def listens(scope: Scope) -> str:
        """Blocks until it is cancelled."""
        stopped = threading.Event()
        with scope.cancel.on_set(stopped.set):
            stopped.wait(WAIT)
        return "stopped in time"

    name, arguments = {"listens": ("listens", {}), "never looks": ("never_looks", {})}.get(
        how, ("bash", {"command": how})
    )
    with Loopback([call_stream((name, arguments), ("list_dir", {})), text_stream("Hi")]) as server:
        chat = Chat(server, tmp_path, [never_looks, listens], Answer("allow"))
        started = threading.Event()
        waits_for = Ask if how == "asks" else ToolStarted
        chat.on_event = lambda event: started.set() if isinstance(event, waits_for) else None
        interrupt(chat, started)
        assert isinstance(chat.say("one"), Interrupted)
        chat.cancel = Cancel()
        assert isinstance(chat.say("two"), Done)
        sent = server.requests[1].json["messages"]
    release.set()
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "assistant", "user"]
    assert [message["tool_call_id"] for message in sent[2:4]] == [call["id"] for call in sent[1]["tool_calls"]]
    if how == "listens":
        assert sent[2]["content"] == "stopped in time"
    left_behind = [event.text for event in chat.events if isinstance(event, Notice)]
    assert bool(left_behind) is (how == "never looks")
    assert "too late" not in json.dumps(sent)


def interrupt(chat: Chat, when: threading.Event) -> None:
    """Cancel the turn that is about to run, once `when` is set."""

    def wait() -> None:
        assert when.wait(WAIT)
        chat.cancel.set()

    threading.Thread(target=wait, daemon=True).start()


def test_a_history_of_any_length_adds_nothing_to_what_a_turn_costs_but_the_body(tmp_path: Path) -> None:
    with Loopback(lambda request, index: text_stream("Hi")) as server:
        chat = Chat(server, tmp_path)
        for number in range(5_000):
            chat.store.append({"role": "user", "content": str(number)})
            chat.store.append({"role": "assistant", "content": "ok"})
        assert isinstance(chat.say("hi"), Done)
        assert len(server.requests[0].json["messages"]) == 10_001


def test_all_schemas_together_are_terse() -> None:
    schemas = [each.schema for each in TOOLS]
    assert len(json.dumps(schemas, separators=(",", ":"))) <= 2_500


# -- what reviews have found


@pytest.mark.parametrize("arguments", ["", '{"path":"a'])
def test_a_call_that_the_output_limit_cut_off_does_not_run(tmp_path: Path, arguments: str) -> None:
    cut = call_stream(("list_dir", arguments), finish="length")
    with Loopback([cut, text_stream("I see.")]) as server:
        chat = Chat(server, tmp_path)
        chat.say("go")
        assert "not run" in server.requests[1].json["messages"][-1]["content"]
    assert [event.ok for event in chat.finished()] == [False]


@pytest.mark.parametrize("error", [SystemExit(3), KeyError("x"), ToolError("would fail")])
def test_a_preview_that_fails_is_a_result_and_nobody_is_asked(tmp_path: Path, error: BaseException) -> None:
    def preview(what: str) -> str:
        raise error

    @tool(asks=True, preview=preview)
    def risky(what: str) -> str:
        """Risky."""
        return "done"

    with Loopback([call_stream(("risky", {"what": "x"})), text_stream("ok")]) as server:
        chat = Chat(server, tmp_path, [risky], Answer("allow"))
        assert isinstance(chat.say("go"), Done)
    assert chat.asked == [] and not chat.finished()[0].ok


def test_a_preview_that_never_ends_can_be_interrupted(tmp_path: Path) -> None:
    begun, release = threading.Event(), threading.Event()

    def preview() -> str:
        begun.set()
        release.wait(WAIT)
        return ""

    @tool(asks=True, preview=preview)
    def risky() -> str:
        """Risky."""
        return "done"

    with Loopback([call_stream(("risky", {}))]) as server:
        chat = Chat(server, tmp_path, [risky], Answer("allow"))
        interrupt(chat, begun)
        assert isinstance(chat.say("go"), Interrupted)
    release.set()


def test_arguments_nested_without_end_are_a_result_too(tmp_path: Path) -> None:
    with Loopback([call_stream(("read_file", '{"path":' + "[" * 50_000)), text_stream("ok")]) as server:
        chat = Chat(server, tmp_path)
        assert isinstance(chat.say("go"), Done)
    assert not chat.finished()[0].ok


def test_a_path_that_is_no_file_is_the_business_of_its_tool(tmp_path: Path) -> None:
    @tool(asks=True)
    def deploy(path: str) -> str:
        """Deploy to a path of the server."""
        return f"deployed {path}"

    with Loopback([call_stream(("deploy", {"path": "/api/v1"})), text_stream("ok")]) as server:
        chat = Chat(server, tmp_path, [deploy], Answer("allow"))
        chat.approvals.mode = "auto"
        chat.say("go")
    assert chat.asked[0].summary == "path: /api/v1"
    assert chat.finished()[0].output == "deployed /api/v1"


def test_an_interrupted_turn_says_what_was_said_and_ends_each_call_it_began(tmp_path: Path) -> None:
    replies = [
        Response(
            chunks=[event({"content": "Let me see."}), *call_stream(("bash", {"command": "sleep 1000"})).chunks],
        )
    ]
    with Loopback(replies) as server:
        chat = Chat(server, tmp_path, answer=Answer("allow"))
        started = threading.Event()
        chat.on_event = lambda event: started.set() if isinstance(event, Ask) else None
        interrupt(chat, started)
        assert chat.say("go") == Interrupted("Let me see.")
    begun = [event.id for event in chat.events if isinstance(event, ToolStarted)]
    assert begun and begun == [event.id for event in chat.finished()]
    assert chat.kinds()[-1] == "interrupted"


def test_an_answer_counts_once() -> None:
    approvals, answers = Approvals(), []

    def show(ask: Ask) -> None:
        answers.append(approvals.answer("cli", "me", ask.id, Answer("deny")))
        answers.append(approvals.answer("cli", "me", ask.id, Answer("always")))

    approvals.ask(Ask("bash", "ls"), Asker("s", "cli", "me"), show, Cancel())
    assert answers == [True, False]


def test_an_empty_reply_is_said(tmp_path: Path) -> None:
    with Loopback([text_stream("")]) as server:
        chat = Chat(server, tmp_path)
        assert isinstance(chat.say("go"), Done)
    assert "empty" in next(event.text for event in chat.events if isinstance(event, Notice))
