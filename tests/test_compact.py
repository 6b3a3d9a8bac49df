"""Compaction: what is shortened, what is summarised, what stays, and what happens when the model cannot help."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from agentkit import Node, Store, Turn, tool
from agentkit.approval import Approvals
from agentkit.archive import Archive
from agentkit.calls import Call
from agentkit.client import Client
from agentkit.command import Commands
from agentkit.compact import MARK, OPENING, REQUEST, Compact
from agentkit.conversation import Conversation
from agentkit.demo import reply as demo_reply
from agentkit.errors import Cancelled, LLMError
from agentkit.events import Compacted, Done, Error, Interrupted, Notice, Text
from agentkit.history import commands
from agentkit.llm import LLMCall
from agentkit.names import slug
from agentkit.session import Opening, Session
from agentkit.store import Context, State, mended
from agentkit.summary import SYSTEM
from agentkit.toolbox import Scope
from agentkit.usetool import Toolbox
from agentkit.wire import Reply, assistant

from .chats import COUNT, WINDOW, Chat, Journal, Model, run_turn, valid
from .loopback import Loopback, Request, Response, call_stream, json_error, text_stream
from .scripted import Scripted, say, session

# -- when


@pytest.mark.parametrize(("window", "tokens"), [(WINDOW, 6_000), (0, 100_000)])
def test_nothing_happens_before_it_is_due_or_where_the_window_is_unknown(window: int, tokens: int) -> None:
    chat, model = Chat(window).talks(tokens), Model("summary")
    before = list(chat.messages)
    assert Compact(model).run(chat.store) == 0
    assert chat.messages == before and chat.events == [] and model.asked == [] and not chat.compactions()


def test_once_is_enough_for_a_while() -> None:
    chat, model = Chat().talks(7_000), Model("They talked.")
    saved = Compact(model).run(chat.store)
    assert saved > 0 and chat.store.tokens <= WINDOW // 2
    assert Compact(model).run(chat.store) == 0
    assert len(chat.compactions()) == 1


# -- the first step: results of tools


def test_old_results_give_way_to_markers_and_that_may_be_enough() -> None:
    chat, model = Chat(), Model("summary")
    long, new = "\n".join(f"line {number}" for number in range(2_000)), "n" * 4_500
    chat.asks("a").looks(long, "short", name="read_file").says("b").asks("c").looks(new).looks(new)
    before = chat.store.tokens
    saved = Compact(model).run(chat.store)
    assert model.asked == []
    (path,) = chat.journal.kept
    assert chat.journal.kept[path] == long
    marker = chat.messages[2]["content"]
    assert marker.startswith(MARK) and path in marker and "read_file" in marker and f"{len(long):,}" in marker
    assert chat.contents[3] == "short"
    assert [each["content"] for each in chat.messages if each["role"] == "tool"][2:] == [new, new]
    (record,) = chat.compactions()
    assert record["head"] == [] and record["first"] == 1 and list(record["shortened"]) == ["3"]
    assert [type(event) for event in chat.events] == [Compacted]
    assert chat.events == [Compacted(before, chat.store.tokens)] and saved == before - chat.store.tokens


def test_within_a_long_turn_the_results_of_the_last_two_replies_stay() -> None:
    chat, model = Chat(), Model("summary")
    chat.asks("go")
    for number in range(5):
        chat.looks(str(number) * 5_400)
    Compact(model).run(chat.store)
    shortened = [each["content"].startswith(MARK) for each in chat.messages if each["role"] == "tool"]
    assert shortened == [True, True, True, False, False] and model.asked == []


def test_a_result_that_was_cut_before_is_not_kept_again_and_a_marker_stays_a_marker() -> None:
    chat = Chat(journal=Journal(name="folder/" * 80))
    chat.asks("go").looks("x" * 6_000)
    chat.messages[2]["kept"] = "whole.txt"
    chat.looks("y" * 20_000).looks("a").looks("b")
    Compact(Model("s")).run(chat.store)
    chat.looks("z" * 26_000)
    Compact(Model("s")).run(chat.store)
    markers = [each["content"] for each in chat.messages if each["role"] == "tool"][:2]
    assert "whole.txt" in markers[0] and next(iter(chat.journal.kept)) in markers[1]
    assert list(chat.journal.kept.values()) == ["y" * 20_000, "z" * 26_000] and len(chat.compactions()) == 2


@pytest.mark.parametrize("journal", [None, Journal(room=False)])
def test_a_result_that_cannot_be_kept_is_shortened_all_the_same(journal: Journal | None) -> None:
    chat = Chat()
    chat.store.journal = journal
    chat.asks("go").looks("x" * 28_000).says("next")
    assert Compact(Model("s")).run(chat.store) > 0
    assert "again" in chat.contents[2] and "/" not in chat.contents[2]


def test_a_new_result_that_is_too_large_for_a_smaller_window_is_cut() -> None:
    chat = Chat(window=100_000)
    chat.asks("go").looks("x" * 80_000)
    chat.store.state.window = WINDOW
    assert Compact(Model("s")).run(chat.store) > 0
    assert chat.contents[2].startswith("xxx") and next(iter(chat.journal.kept)) in chat.contents[2]
    assert chat.store.tokens < WINDOW * 0.3


# -- the second and third: a summary


def test_the_older_part_is_summarised_and_about_a_quarter_stays() -> None:
    chat, model = Chat(system="p" * 4_000).talks(5_600, turns=35), Model("- They talked about b.")
    tail = list(chat.messages)
    Compact(model).run(chat.store)
    head, ack, *rest = chat.messages
    assert head["role"] == "user" and head["summary"] and ack["role"] == "assistant" and ack["summary"]
    assert head["content"] == f"{OPENING}\n\n- They talked about b."
    assert rest == tail[-len(rest) :] and rest[0]["role"] == "user"
    assert 0.2 * WINDOW < chat.store.worth("".join(each["content"] for each in rest)) <= 0.25 * WINDOW
    assert chat.store.state.usage == COUNT
    assert [event.type for event in chat.events] == ["notice", "compacted"]
    assert f"of {WINDOW:,}" in chat.events[0].text  # type: ignore[attr-defined]
    (record,) = chat.compactions()
    assert record["first"] == rest[0]["n"] and record["head"] == [head, ack]
    ((system, (asked,), tools),) = model.asked
    assert system == SYSTEM and tools == [] and asked["at"] == ""
    assert "user: " in asked["content"] and "message 0 b" in asked["content"]
    assert "message 34" not in asked["content"]


def test_what_the_summary_request_costs_is_spent_but_is_no_measure() -> None:
    chat = Chat(system="p" * 4_000).talks(5_600)
    Compact(Model("short")).run(chat.store)
    plain = Store(Context(chat.store.context.system, [], chat.messages))
    assert chat.store.state.usage == COUNT
    assert chat.store.tokens == plain.tokens


def test_a_long_transcript_goes_in_pieces_that_fit_and_the_summary_rolls() -> None:
    chat, model = Chat(window=100_000), Model("first", "second", "third", "fourth")
    for number in range(60):
        chat.says(f"message {number} " + "x" * 800, "y" * 100)
    chat.store.state.window = WINDOW
    Compact(model).run(chat.store)
    assert len(model.asked) == 4
    for _, (message,), _ in model.asked:
        assert len(SYSTEM) + len(message["content"]) < WINDOW * 4 * 0.8
    texts = [messages[0]["content"] for _, messages, _ in model.asked]
    assert "<summary>" not in texts[0] and "<summary>\nfirst\n" in texts[1] and "<summary>\nsecond\n" in texts[2]
    assert chat.contents[0].endswith("\n\nfourth")
    found = [number for number in range(60) if any(f"message {number} " in text for text in (*texts, *chat.contents))]
    assert found == list(range(60))


def test_a_summary_stands_in_the_next_one() -> None:
    chat, model = Chat(), Model("The cat is called Plum.", "Plum, and more.")
    chat.talks(7_000)
    Compact(model).run(chat.store)
    chat.talks(5_000)
    Compact(model).run(chat.store)
    asked = model.asked[1][1][0]["content"]
    assert "<summary>\nThe cat is called Plum.\n</summary>" in asked and OPENING not in asked
    assert [bool(each.get("summary")) for each in chat.messages][:3] == [True, True, False]
    assert "Plum, and more." in chat.contents[0]


def test_in_one_long_turn_the_last_reply_stays_and_the_request_is_kept_word_for_word() -> None:
    chat, model = Chat(), Model("It looks at things.")
    request = "Look at everything,\nand mind the ids: 4711."
    chat.says("before").asks(request)
    for _ in range(40):
        chat.looks("r" * 350, name="look " + "n" * 300)
    last = chat.messages[-2:]
    Compact(model).run(chat.store)
    head, *rest = chat.messages
    assert head["content"] == f"{OPENING}\n\nIt looks at things.\n\n{REQUEST}\n{request}"
    assert rest[0]["role"] == "assistant" and rest[-2:] == last and valid(rest)
    for _ in range(40):
        chat.looks("r" * 350, name="look " + "n" * 300)
    Compact(model).run(chat.store)
    assert chat.contents[0].endswith(f"{REQUEST}\n{request}") and chat.messages[1]["role"] == "assistant"
    assert chat.contents[0].count(request) == 1
    chat.talks(7_000)
    Compact(model).run(chat.store)
    assert REQUEST not in chat.contents[0]
    assert any("4711" in messages[0]["content"] for _, messages, _ in model.asked[2:])


def test_a_huge_request_is_cut_in_its_middle_and_kept_whole() -> None:
    chat = Chat()
    request = "Begin " + "q" * 16_000 + " end."
    chat.asks(request)
    for _ in range(20):
        chat.looks("r" * 390, name="look " + "n" * 300)
    Compact(Model("It works.")).run(chat.store)
    assert "Begin qqq" in chat.contents[0] and chat.contents[0].endswith("qq end.")
    assert list(chat.journal.kept.values()) == [request] and next(iter(chat.journal.kept)) in chat.contents[0]
    assert chat.store.tokens <= WINDOW // 2


def test_a_huge_last_turn_leaves_only_itself() -> None:
    chat = Chat().talks(3_000).asks("q" * 16_000)
    Compact(Model("They talked.")).run(chat.store)
    assert [each["role"] for each in chat.messages] == ["user", "assistant", "user"]


def test_a_prompt_that_takes_much_leaves_less_of_the_conversation() -> None:
    chat = Chat(system="p" * 12_000).talks(3_800)
    Compact(Model("They talked.")).run(chat.store)
    assert chat.store.tokens <= WINDOW // 2 and len(chat.messages) == 4


def test_a_model_that_babbles_is_cut_at_a_line() -> None:
    chat = Chat().talks(7_000)
    Compact(Model("\n".join(f"Fact number {number}." for number in range(1_000)))).run(chat.store)
    assert WINDOW / 8 * 0.7 < chat.store.worth(chat.contents[0]) < WINDOW / 8 + 100
    assert chat.contents[0].endswith(".\n")


def test_a_window_of_the_size_of_a_thought_does_not_stop_anything() -> None:
    for window in (1, 10, 100, 1_000):
        chat = Chat(window).talks(3_000)
        Compact(Model("s" * 10_000)).run(chat.store)
        assert valid(chat.messages) and chat.messages[-1]["role"] == "assistant"


# -- at the user's wish


def test_the_user_may_have_it_at_any_time_and_say_what_to_keep() -> None:
    chat, model = Chat().talks(1_500), Model("They talked.")
    assert Compact(model, "the numbers", always=True).run(chat.store) > 0
    assert "above all: the numbers" in model.asked[0][1][0]["content"]
    assert len(chat.messages) == 4 and chat.messages[2]["content"].startswith("message 9")


def test_it_works_where_the_window_is_unknown() -> None:
    chat = Chat(window=0).talks(20_000)
    assert Compact(Model("They talked."), always=True).run(chat.store) > 0
    assert chat.store.tokens <= 4_096


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_there_may_be_nothing_to_compact(turns: int) -> None:
    chat, model = Chat(), Model("They talked.")
    for _ in range(turns):
        chat.says("hi", "Hello.")
    before = list(chat.messages)
    assert Compact(model, always=True).run(chat.store) == 0
    assert model.asked == [] and chat.messages == before and chat.events == [] and not chat.compactions()


def test_asked_for_again_and_again_it_comes_to_an_end() -> None:
    chat, model = Chat().talks(3_000), Model("They talked.")
    for _ in range(3):
        Compact(model, always=True).run(chat.store)
    assert [each["role"] for each in chat.messages] == ["user", "assistant"] * 2
    assert Compact(model, always=True).run(chat.store) == 0 and len(model.asked) == 2


# -- when it fails


@pytest.mark.parametrize("answer", [LLMError("server_error", "It is broken. Try again."), "", " \n "])
def test_without_a_summary_the_oldest_results_go_first_and_the_last_one_stays(answer: str | LLMError) -> None:
    chat = Chat().says("hello").asks("go").looks(*(f"{number}" * 6_000 for number in range(6)))
    Compact(Model(answer)).run(chat.store)
    results = [each["content"] for each in chat.messages if each["role"] == "tool"]
    assert [text.startswith(MARK) for text in results] == [True, True, False, False, False, False]
    assert chat.contents[:3] == ["hello", "Well.", "go"] and chat.store.tokens < 0.8 * WINDOW
    assert len(chat.journal.kept) == 2


def test_when_the_model_cannot_summarise_the_history_stays_and_it_is_said_why() -> None:
    chat = Chat().talks(7_000)
    before = list(chat.messages)
    assert Compact(Model(LLMError("auth", "The key is wrong. Check LLM_API_KEY."))).run(chat.store) == 0
    assert chat.messages == before and not chat.compactions()
    assert "Check LLM_API_KEY" in chat.warnings[0]


def test_cancelled_it_has_not_happened() -> None:
    chat = Chat().asks("go").looks("x" * 4_000).talks(7_000)
    before = list(chat.messages)
    with pytest.raises(Cancelled):
        Compact(Model(Cancelled())).run(chat.store)
    assert chat.messages == before and not chat.compactions() and not chat.journal.kept


def test_a_prompt_that_fills_the_window_is_said_once_and_costs_no_request() -> None:
    chat, model = Chat(system="p" * 27_000), Model("They talked.")
    compact = Compact(model)
    for number in range(5):
        chat.says(f"message {number}")
        assert compact.run(chat.store) == 0
    assert model.asked == [] and len(chat.warnings) == 1 and "/prompt" in chat.warnings[0]


def test_half_of_what_a_large_prompt_leaves_is_for_the_conversation() -> None:
    chat = Chat(system="p" * 24_000).asks("go").looks(*("r" * 800 for _ in range(9)))
    Compact(Model("They talked.")).run(chat.store)
    assert 0.85 * WINDOW < chat.store.tokens < 0.875 * WINDOW


def test_a_summary_longer_than_what_it_stands_for_is_not_taken() -> None:
    chat = Chat(window=700, system="").talks(600, turns=3)
    chat.store.measured(700)
    before = chat.store.tokens
    Compact(Model("s " * 5_000)).run(chat.store)
    assert chat.store.tokens <= before and valid(chat.messages)


# -- whatever the conversation is


def test_the_demo_model_summarises_what_the_user_said() -> None:
    class Demo(Node):
        def prep(self, store: Store) -> str:
            system = {"role": "system", "content": store.context.system}
            return demo_reply([system, *store.context.messages], store.context.tools)[0]

        def exec(self, inputs: str) -> Reply:
            return Reply(inputs)

    chat = Chat().says("my cat is called Plum").talks(6_800)
    Compact(Demo()).run(chat.store)
    assert "- my cat is called Plum\n" in chat.contents[0]
    chat.talks(5_500)
    Compact(Demo()).run(chat.store)
    assert "- my cat is called Plum\n" in chat.contents[0]


def test_the_record_of_a_compaction_is_plain_json() -> None:
    chat = Chat().asks("go").looks("x" * 9_000).talks(6_000)
    Compact(Model("They talked.")).run(chat.store)
    (record,) = chat.compactions()
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("seed", range(40))
def test_any_conversation_stays_valid_gets_shorter_and_is_the_same_after_a_restart(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    conversation = Conversation(tmp_path / "s", "c")
    chat = Chat(dice.choice([1_000, 4_000, 16_000]), "p" * dice.choice([0, 100, 3_000]), conversation)
    said: list[str | BaseException] = ["A summary.", "s\n" * 4_000, "", LLMError("network", "Gone.")]
    model = Model(*(dice.choice(said) for _ in range(30)))
    compact = Compact(model, always=dice.random() < 0.3)
    for _ in range(120):
        kind, size = dice.random(), int(dice.paretovariate(0.6) * 20) % 9_000
        last_role = chat.messages[-1]["role"] if chat.messages else "assistant"
        if kind < 0.4 and last_role != "assistant":
            chat.store.append({"role": "assistant", "content": "Well."})
        elif kind >= 0.4 and last_role == "assistant":
            chat.asks("And?")
        if kind < 0.4:
            chat.asks(f"{chat.store.tokens} " + "u" * size)
        elif kind < 0.6:
            chat.store.append({"role": "assistant", "content": "a" * size})
        else:
            chat.looks(*("r" * (size // n) for n in range(1, dice.randint(2, 5))))
        if dice.random() < 0.2:
            chat.store.measured(int(chat.store.tokens * dice.choice([0.6, 1, 1.3])))
        last, before = chat.messages[-1], chat.store.tokens
        try:
            assert compact.run(chat.store) == max(0, before - chat.store.tokens)
        except LLMError:
            assert compact.always  # who asks for it hears why it failed
        assert chat.store.tokens <= before and valid(chat.messages)
        assert chat.messages[-1]["n"] == last["n"]
    conversation.close()
    again = Conversation(tmp_path / "s", "c")
    found = again.open()
    assert (found.seen, found.broken) == (mended(chat.messages), 0)
    again.close()


# -- in a turn


TOO_LONG = json_error(400, "maximum context length is 8000 tokens", code="context_length_exceeded")


def test_a_conversation_that_the_server_finds_too_long_is_compacted_and_sent_again() -> None:
    def script(request: Request, index: int) -> Response:
        if SYSTEM in request.said:
            return text_stream("They talked.")
        return text_stream("Fine.") if index else TOO_LONG

    with Loopback(script) as server:
        chat = Chat().talks(4_000).asks("and?")
        ending = run_turn(chat, LLMCall(Client(server.url, direct=True)))
        sent = [request.json["messages"] for request in server.requests]
    assert isinstance(ending, Done) and ending.text == "Fine."
    assert len(sent[-1]) < len(sent[0]) and sent[1][0]["content"] == SYSTEM
    assert sent[-1][-1] == sent[0][-1]
    assert [event.type for event in chat.events] == ["turn_started", "notice", "compacted", "text", "done"]


def test_what_stays_too_long_is_an_error_after_two_more_attempts() -> None:
    with Loopback(lambda request, index: text_stream("S.") if SYSTEM in request.said else TOO_LONG) as server:
        chat = Chat()
        for _ in range(20):
            chat.talks(190, turns=1)
        ending = run_turn(chat.asks("and?"), LLMCall(Client(server.url, direct=True)))
        sent = [request for request in server.requests if SYSTEM not in request.said]
    assert isinstance(ending, Error) and ending.category == "overflow" and "LLM_CONTEXT_WINDOW" in ending.message
    assert 2 <= len(sent) <= 3 and valid(chat.messages)


@pytest.mark.parametrize("window", [0, WINDOW])
def test_what_cannot_be_shortened_is_an_error_at_once(window: int) -> None:
    with Loopback([TOO_LONG]) as server:
        chat = Chat(window).asks("and?")
        ending = run_turn(chat, LLMCall(Client(server.url, direct=True)))
        assert len(server.requests) == 1
    assert isinstance(ending, Error) and ending.category == "overflow"


def test_a_turn_without_a_compact_passes_the_error_on() -> None:
    with Loopback([TOO_LONG]) as server:
        chat = Chat().talks(4_000).asks("and?")
        ask = LLMCall(Client(server.url, direct=True))
        ending = Turn(ask, Toolbox({}, Approvals("trust"), Scope(()))).run(chat.store)
    assert isinstance(ending, Error) and ending.category == "overflow"


def test_it_is_looked_at_between_the_calls_of_one_turn() -> None:
    @tool(read_only=True)
    def look(at: int) -> str:
        """Look."""
        return "r" * 7_000

    def script(request: Request, index: int) -> Response:
        return call_stream(("look", {"at": index})) if index < 12 else text_stream("Done.")

    with Loopback(script) as server:
        chat = Chat().asks("look around")
        assert isinstance(run_turn(chat, LLMCall(Client(server.url, direct=True)), look=look), Done)
        bodies = [len(request.body) for request in server.requests]
    assert len(bodies) > 10 and chat.compactions() and max(bodies) < WINDOW * 4


def test_a_turn_is_on_disk_before_it_is_said_to_be_over() -> None:
    order: list[str] = []

    class Disk(Journal):
        def sync(self) -> None:
            order.append("sync")

    chat = Chat(journal=Disk()).asks("hi")
    chat.store.run = chat.store.run._replace(publish=lambda event: order.append(event.type))
    run_turn(chat, Model("Hello."))
    assert order == ["turn_started", "sync", "done"]


def test_an_interrupted_turn_that_was_compacted_tells_what_it_said() -> None:
    chat = Chat().talks(7_000).asks("go")
    ask = Model("They talked.", Cancelled())
    assert run_turn(chat, ask) == Interrupted("")
    assert len(ask.asked) == 2 and chat.contents[-1] == "[interrupted]"


# -- what the server says of it


class Strict(Scripted):
    """A model with a window of its own. letter: tokens of a character that is not ASCII; counts: it says how many
    tokens it has read; large: it refuses summaries of more characters than that."""

    def __init__(self, window: int, letter: float = 1.0, counts: bool = True, large: int = 1 << 30) -> None:
        super().__init__(self._answer)
        self.window, self.letter, self.counts, self.large = window, letter, counts, large
        self.refused: list[str] = []  # the last message of each request that was too long
        self.sent: list[int] = []  # the characters of each request

    def _answer(self, context: Context) -> Reply:
        text = context.system + json.dumps(context.tools) + "".join(each["content"] for each in context.messages)
        letters = sum(character > "\x7f" for character in text)
        tokens = round((len(text) - letters) / 4 + letters * self.letter)
        self.sent.append(len(text))
        summary = context.system == SYSTEM
        if tokens > self.window or (summary and len(text) > self.large):
            self.refused.append(context.messages[-1]["content"])
            raise LLMError("overflow", "The conversation is too long for the model.")
        usage = {"prompt_tokens": tokens, "completion_tokens": 9, "total_tokens": tokens + 9} if self.counts else None
        return Reply("They talked." if summary else "Well. " * 20, usage=usage)

    def post(self, store: Store, inputs: Any, result: Reply) -> Reply:
        usage = result.usage or {}
        if usage:
            store.measured(usage["prompt_tokens"])
        store.append({**assistant(result), "model": "m", **({"usage": usage} if usage else {})})
        store.state.spend(usage)
        return result


def talk_on(talk: Session, text: str, turns: int) -> None:
    for number in range(turns):
        ending = say(talk, f"{number} {text}")[-1]
        assert isinstance(ending, Done), ending


@pytest.mark.parametrize("real", [4_096, 8_000])
@pytest.mark.parametrize("size", [400, 4_000])
@pytest.mark.parametrize("counts", [True, False])
def test_a_window_that_is_much_smaller_than_was_said_is_found_out_once(real: int, size: int, counts: bool) -> None:
    refused = []

    def script(request: Request, index: int) -> Response:
        tokens = len(request.body) // 4
        if tokens > real:
            refused.append(index)
            return json_error(400, f"maximum context length is {real} tokens", code="context_length_exceeded")
        usage = {"prompt_tokens": tokens, "completion_tokens": 9, "total_tokens": tokens + 9} if counts else None
        return text_stream("They talked." if SYSTEM in request.said else "Well. " * 20, usage=usage)

    with Loopback(script) as server:
        chat, ask = Chat(128_000), LLMCall(Client(server.url, direct=True))
        for number in range(3 * 4 * real // size):
            assert isinstance(run_turn(chat.asks(f"{number} " + "w" * size), ask), Done)
    assert len(refused) == 1 and len(chat.compactions()) > 1 and not chat.warnings


@pytest.mark.parametrize("real", [4_096, 8_000])
@pytest.mark.parametrize("size", [200, 1_500, 30_000])
def test_it_is_found_out_within_a_long_turn_too(real: int, size: int) -> None:
    @tool(read_only=True)
    def look(at: int) -> str:
        """Look."""
        return "r" * size

    refused = []

    def script(request: Request, index: int) -> Response:
        if len(request.body) // 4 > real:
            refused.append(index)
            return json_error(400, f"maximum context length is {real} tokens", code="context_length_exceeded")
        if SYSTEM in request.said:
            return text_stream("They look.")
        return call_stream(("look", {"at": index})) if index < 45 else text_stream("Done.")

    with Loopback(script) as server:
        chat = Chat(128_000).asks("look around")
        assert isinstance(run_turn(chat, LLMCall(Client(server.url, direct=True)), look=look), Done)
    assert len(refused) <= 3 and valid(chat.messages)


@pytest.mark.parametrize("window", [2_000, 8_000])
@pytest.mark.parametrize("size", [20, 100, 300])
def test_a_script_of_one_token_a_character_is_measured_after_a_reload_too(
    tmp_path: Path, window: int, size: int
) -> None:
    model = Strict(window)
    for _ in range(6):
        talk = session(tmp_path, model, window=window, opening=Opening("talk"))
        talk_on(talk, "中" * size, window // (size + 60) // 2 + 2)
        talk.close()
    assert model.refused == []


@pytest.mark.parametrize("window", [2_000, 8_000])
@pytest.mark.parametrize("said", [128_000, 0])
def test_a_server_that_counts_nothing_is_followed_after_a_reload_too(tmp_path: Path, window: int, said: int) -> None:
    model = Strict(window, counts=False)
    for number in range(4):
        talk = session(tmp_path, model, window=said or window, opening=Opening("talk"))
        talk_on(talk, "中" * 100, window // 160 // 2 + 2)
        talk.close()
        assert len(model.refused) <= 2 * (number + 1)


@pytest.mark.parametrize(("real", "times"), [(4_096, 5), (8_000, 5), (4_096, 15), (8_000, 12)])
def test_a_conversation_with_a_larger_model_goes_on_with_a_small_one(tmp_path: Path, real: int, times: int) -> None:
    talk = session(tmp_path, Strict(128_000), window=128_000, opening=Opening("talk"))
    talk_on(talk, "w" * 1_600, real * times // 430)
    talk.close()
    model = Strict(real)
    talk = session(tmp_path, model, window=128_000, opening=Opening("talk"))
    talk_on(talk, "and?", 3)
    assert len(model.refused) <= (4 if times == 5 else 8)


@pytest.mark.parametrize(("large", "refused"), [(10_000, 1), (6_000, 2)])
def test_a_summary_that_is_too_long_to_be_asked_for_is_asked_for_in_smaller_pieces(large: int, refused: int) -> None:
    chat, model = Chat().talks(7_000, turns=70), Strict(WINDOW, large=large)
    assert Compact(model).run(chat.store) > 0
    assert len(model.refused) == refused and chat.contents[0] == f"{OPENING}\n\nThey talked." and not chat.warnings
    accepted = [size for size in model.sent if size <= large]
    assert len(accepted) == len(model.sent) - refused >= 2


def test_a_summary_that_is_always_too_long_is_given_up_soon() -> None:
    chat, model = Chat().talks(7_000, turns=70), Strict(WINDOW, large=0)
    Compact(model).run(chat.store)
    assert len(model.sent) == 6 and not chat.compactions()
    assert "could not be summarised" in chat.warnings[0] and "too long for the model" in chat.warnings[0]


# -- a summary that cannot be had


@pytest.mark.parametrize("answer", [json_error(500, "it is broken"), text_stream(""), call_stream(("look", {"at": 1}))])
def test_a_summary_that_fails_is_not_asked_for_before_each_call_of_a_turn(answer: Response) -> None:
    @tool(read_only=True)
    def look(at: int) -> str:
        """Look."""
        return "r" * 3_000

    def script(request: Request, index: int) -> Response:
        if SYSTEM in request.said:
            return answer
        calls = sum(SYSTEM not in each.said for each in server.requests)
        return call_stream(("look", {"at": index})) if calls <= 40 else text_stream("Done.")

    with Loopback(script) as server:
        chat = Chat()
        for number in range(30):
            chat.says(f"message {number} " + "b" * 600, f"answer {number}")
        chat.asks("look around")
        assert isinstance(run_turn(chat, LLMCall(Client(server.url, direct=True)), look=look), Done)
        asked = [SYSTEM in each.said for each in server.requests]
    assert asked.count(False) == 41 and 1 <= asked.count(True) <= 6
    assert 1 <= len([text for text in chat.warnings if "could not be summarised" in text]) <= asked.count(True)
    assert valid(chat.messages)


@pytest.mark.parametrize("category", ["auth", "server_error", "overflow", "network"])
def test_the_user_hears_why_a_summary_that_was_asked_for_has_failed(tmp_path: Path, category: str) -> None:
    def rule(context: Context) -> Reply:
        if context.tools:
            return Reply("Well. " * 100)
        raise LLMError(category, "It is as it is.")

    talk = session(tmp_path, Scripted(rule), opening=Opening("talk"))
    talk_on(talk, "plum " * 100, 6)
    before = talk.conversation.path.read_bytes()
    ending = say(talk, "/compact")[-1]
    assert isinstance(ending, Error) and (ending.category, ending.message) == (category, "It is as it is.")
    assert talk.conversation.path.read_bytes() == before
    talk_on(talk, "and?", 1)


@pytest.mark.parametrize(
    "reply", [Reply(""), Reply(" \n"), Reply("I look first.", calls=(Call("c1", "look", "{}"),)), Reply("", "I think.")]
)
def test_what_is_no_summary_is_not_taken_for_one(tmp_path: Path, reply: Reply) -> None:
    model = Scripted(lambda context: Reply("Well. " * 100) if context.tools else reply)
    talk = session(tmp_path, model, opening=Opening("talk"))
    talk_on(talk, "plum " * 100, 6)
    before = list(talk.store.context.messages)
    ending = say(talk, "/compact")[-1]
    assert isinstance(ending, Error) and "no summary" in ending.message
    assert talk.store.context.messages == before


@pytest.mark.parametrize("finish", ["length", "stop"])
def test_a_summary_is_asked_for_without_tools_and_what_is_said_of_its_reply_is_not_told(finish: str) -> None:
    extra = {"tool_choice": "auto", "parallel_tool_calls": False, "temperature": 0.5}

    def script(request: Request, index: int) -> Response:
        if SYSTEM in request.said:
            return text_stream("They talked." if finish == "length" else "", finish=finish)
        return text_stream("Fine.")

    @tool(read_only=True)
    def look(at: int) -> str:
        """Look."""
        return ""

    with Loopback(script) as server:
        chat = Chat().talks(7_000).asks("and?")
        assert isinstance(run_turn(chat, LLMCall(Client(server.url, direct=True), extra), look=look), Done)
        summary, turn = server.requests[0].json, server.requests[-1].json
    assert summary["temperature"] == 0.5 and not {"tools", "tool_choice", "parallel_tool_calls"} & set(summary)
    assert (turn["tool_choice"], turn["parallel_tool_calls"]) == ("auto", False)
    told = [each.text for each in chat.events if isinstance(each, Notice)]
    assert not [text for text in told if "breaks off" in text or "reply was empty" in text]
    assert [each.text for each in chat.events if isinstance(each, Text)] == ["Fine."]


@pytest.mark.parametrize("turns", [1, 6])
def test_that_nothing_more_can_be_left_out_is_said_once(turns: int) -> None:
    chat, model = Chat(system="p" * 27_000), Model("Well.")
    for number in range(turns):
        assert isinstance(run_turn(chat.asks(f"message {number}"), model), Done)
    assert len(chat.warnings) == 1 and "/prompt" in chat.warnings[0]


# -- what is counted


@pytest.mark.parametrize("calls", [1, 2, 7])
def test_what_was_thought_counts_once_whatever_number_of_calls_it_led_to(calls: int) -> None:
    def tokens(thinking: str) -> int:
        store = Store()
        asked = tuple(Call(f"c{at}", "look", "{}") for at in range(calls))
        reply = Reply("", thinking, asked, thinking_field="reasoning")
        store.append({"role": "user", "content": "go"})
        store.append(assistant(reply))
        return store.tokens

    assert tokens("t" * 4_000) - tokens("") == 1_000


def test_what_was_thought_before_an_answer_is_not_sent_and_does_not_count() -> None:
    store = Store()
    store.append(assistant(Reply("Yes.", "t" * 4_000, thinking_field="reasoning")))
    assert store.tokens < 10


def prompted(folder: Path, model: Strict, label: str) -> Session:
    """A session that goes on, with a prompt."""
    toolbox = Toolbox({}, Approvals("trust"), Scope((folder,)))

    def prepare(session: Session) -> Turn:
        session.store.context.system = "Be brief. " * 100
        return Turn(model, toolbox, compact=Compact(model))

    store = Store(state=State("key", "assistant", "m", "cli", "ann", 100_000))
    table = Commands(commands(toolbox.scope, lambda: model))
    return Session(store, Archive(folder / "sessions"), lambda session: "m", prepare, table, Opening(label))


@pytest.mark.parametrize("letter", ["w", "中"])
@pytest.mark.parametrize("compacted", [False, True])
def test_after_a_reload_it_is_as_much_as_before(tmp_path: Path, letter: str, compacted: bool) -> None:
    model = Strict(100_000)
    talk = prompted(tmp_path, model, "talk")
    talk_on(talk, letter * 400, 12)
    if compacted:
        assert isinstance(say(talk, "/compact")[-1], Done)
        talk_on(talk, letter * 400, 2)
    before = talk.view.tokens
    assert before == talk.store.tokens
    talk.close()
    again = prompted(tmp_path, model, "talk")
    assert isinstance(say(again, "/history")[-1], Done)
    assert again.view.tokens == pytest.approx(before, rel=0.05)
    again.prepare()
    assert again.view.tokens == again.store.tokens == pytest.approx(before, rel=0.05)


@pytest.mark.parametrize("letter", ["w", "中"])
def test_a_compaction_first_thing_after_a_reload_counts_as_one_before_it(tmp_path: Path, letter: str) -> None:
    model, counted = Strict(100_000), []
    for label in ("at once", "after a reload"):
        talk = prompted(tmp_path, model, slug(label))
        talk_on(talk, letter * 400, 12)
        if label != "at once":
            talk.close()
            talk = prompted(tmp_path, model, slug(label))
        events = say(talk, "/compact")
        assert isinstance(events[-1], Done)
        (event,) = [each for each in events if isinstance(each, Compacted)]
        assert event.after == talk.store.tokens == talk.view.tokens < event.before
        counted.append((event.before, event.after))
        talk.close()
    assert counted[1] == pytest.approx(counted[0], rel=0.05)


def test_what_was_counted_before_a_compaction_is_not_used_after_it(tmp_path: Path) -> None:
    model = Strict(100_000)
    talk = prompted(tmp_path, model, "talk")
    talk_on(talk, "w" * 4_000, 12)
    full = talk.view.tokens
    assert isinstance(say(talk, "/compact")[-1], Done)
    left = talk.view.tokens
    assert left < full / 3 and [each.tokens < full / 3 for each in talk.archive.entries()] == [True]
    talk.close()
    again = prompted(tmp_path, model, "talk")
    assert isinstance(say(again, "/history")[-1], Done)
    assert again.view.tokens < full / 3
    again.prepare()
    assert again.view.tokens == pytest.approx(left, rel=0.1)
