"""What the demo model answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.demo.smalltalk import reply

PARAMETERS = {
    "list_dir": ("path",),
    "read_file": ("path",),
    "write_file": ("path", "content"),
    "bash": ("command",),
    "glob": ("pattern",),
    "grep": ("pattern", "path"),
}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {each: {"type": "string"} for each in parameters}},
        },
    }
    for name, parameters in PARAMETERS.items()
]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str, tools: list[dict[str, Any]] = TOOLS) -> str:
    answer, calls = reply([{"role": "system", "content": "You are helpful."}, user(text)], tools)
    assert not calls
    return answer


def called(text: str) -> list[tuple[str, dict[str, str]]]:
    answer, calls = reply([user(text)], TOOLS)
    assert answer == "" or not calls
    return calls


def after(name: str, *results: str) -> str:
    """What it says to the results of calls of that tool."""
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": "{}"}} for n in range(len(results))
    ]
    answers = [{"role": "tool", "tool_call_id": f"c{n}", "content": text} for n, text in enumerate(results)]
    text, again = reply([user("list the files"), {"role": "assistant", "tool_calls": calls}, *answers], TOOLS)
    assert again == []
    return text


@pytest.mark.parametrize(
    "text", ["hi", "Hello!", "hey there", "who are you?", "What can you do", "help", "hi, who are you"]
)
def test_small_talk_says_that_it_is_the_demo_model_and_what_it_can_do(text: str) -> None:
    answer = said(text)
    assert "demo model" in answer
    assert "list the files" in answer


@pytest.mark.parametrize("text", ["thanks", "Thank you very much!", "bye"])
def test_thanks_and_goodbyes_get_a_short_answer(text: str) -> None:
    assert "demo model" in said(text)
    assert len(said(text)) < 60


@pytest.mark.parametrize(
    "text", ["why is the sky blue?", "", "   ", "read it", "run the tests", "fix the bug in main.py"]
)
def test_anything_else_gets_its_limits_and_the_four_settings(text: str) -> None:
    answer = said(text)
    assert "demo model" in answer
    for name in ("LLM_BASE_URL", "LLM_API_KEY", "LLM_MODEL", "LLM_CONTEXT_WINDOW", ".env"):
        assert name in answer


@pytest.mark.parametrize(
    "text",
    [
        "how do I connect a real model?",
        "How can I use Ollama",
        "switch to another model",
        "I need an API key",
        "add OpenAI",
    ],
)
def test_connecting_a_real_model_is_explained_for_openai_and_ollama(text: str) -> None:
    answer = said(text)
    for piece in ("https://api.openai.com/v1", "http://localhost:11434/v1", "LLM_CONTEXT_WINDOW=", "LLM_MODEL="):
        assert piece in answer


@pytest.mark.parametrize(
    ("text", "tool", "arguments"),
    [
        ("ls", "list_dir", {"path": "."}),
        ("list the files", "list_dir", {"path": "."}),
        ("List files here.", "list_dir", {"path": "."}),
        ("what files are here?", "list_dir", {"path": "."}),
        ("hi, can you please list the files?", "list_dir", {"path": "."}),
        ("list the files in src", "list_dir", {"path": "src"}),
        ('list the files in the "my docs" folder, please', "list_dir", {"path": "my docs"}),
        ("ls ..", "list_dir", {"path": ".."}),
        ("show me the files in this directory", "list_dir", {"path": "."}),
        ("read README.md", "read_file", {"path": "README.md"}),
        ("read README.md.", "read_file", {"path": "README.md"}),
        ("Please read the file notes.", "read_file", {"path": "notes"}),
        ("show `src/a.py`!", "read_file", {"path": "src/a.py"}),
        ('cat "my notes.txt"', "read_file", {"path": "my notes.txt"}),
        ("open ../x/y.txt please", "read_file", {"path": "../x/y.txt"}),
        ("read README.md and tell me what it says", "read_file", {"path": "README.md"}),
        ("what is in README.md?", "read_file", {"path": "README.md"}),
        ("write hello to a.txt", "write_file", {"path": "a.txt", "content": "hello"}),
        ("write I went to Rome to trip.txt", "write_file", {"path": "trip.txt", "content": "I went to Rome"}),
        ('write "a to b" to "road to x.txt".', "write_file", {"path": "road to x.txt", "content": "a to b"}),
        ("write notes.txt: a: b", "write_file", {"path": "notes.txt", "content": "a: b"}),
        ("write a.txt:\none\n  two", "write_file", {"path": "a.txt", "content": "one\n  two"}),
        ("create a.txt with hello", "write_file", {"path": "a.txt", "content": "hello"}),
        ("create a file called a.txt with the text 'hi'", "write_file", {"path": "a.txt", "content": "hi"}),
        ("create a.py with\n```python\nprint()\n```", "write_file", {"path": "a.py", "content": "print()"}),
        ("write Ü → 😀 to a.txt", "write_file", {"path": "a.txt", "content": "Ü → 😀"}),
        ("run ls -la", "bash", {"command": "ls -la"}),
        ("run `git log`.", "bash", {"command": "git log"}),
        ("can you run git status?", "bash", {"command": "git status"}),
        ("execute date", "bash", {"command": "date"}),
        ('$ echo "a." > b', "bash", {"command": 'echo "a." > b'}),
        ("find files *.py", "glob", {"pattern": "*.py"}),
        ("find all *.md files", "glob", {"pattern": "*.md"}),
        ("glob **/*.txt", "glob", {"pattern": "**/*.txt"}),
        ("search for TODO", "grep", {"pattern": "TODO"}),
        ("grep 'def main'", "grep", {"pattern": "def main"}),
        ("search for TODO in src/", "grep", {"pattern": "TODO", "path": "src/"}),
    ],
)
def test_a_plain_request_becomes_a_call(text: str, tool: str, arguments: dict[str, str]) -> None:
    assert called(text) == [(tool, arguments)]


def test_several_files_are_read_by_as_many_calls() -> None:
    assert called("read a.txt, b.txt and c.txt") == [("read_file", {"path": f"{name}.txt"}) for name in "abc"]


@pytest.mark.parametrize(
    "text", ["put the kettle on", "create a website with React", "write a letter to me", "read the room", "show me how"]
)
def test_a_sentence_that_only_begins_like_a_request_is_none(text: str) -> None:
    assert called(text) == []


def test_a_tool_that_is_not_offered_is_named_and_not_called() -> None:
    answer = said("run ls", tools=[each for each in TOOLS if each["function"]["name"] != "bash"])
    assert "bash" in answer
    assert "not offered" in answer


def test_a_search_without_a_path_parameter_is_given_none() -> None:
    tool = {"type": "function", "function": {"name": "grep", "parameters": {"properties": {"pattern": {}}}}}
    assert reply([user("search for x in src/")], [tool]) == ("", [("grep", {"pattern": "x"})])


def test_the_words_may_come_in_parts() -> None:
    parts = [{"type": "text", "text": "read"}, {"type": "image_url"}, {"type": "text", "text": "a.txt"}]
    assert reply([{"role": "user", "content": parts}], TOOLS)[1] == [("read_file", {"path": "a.txt"})]


def test_a_result_is_told_and_no_tool_is_called_again() -> None:
    assert after("list_dir", "a.txt\nb.txt") == "Here is what is in the folder:\na.txt\nb.txt"


def test_only_the_beginning_of_a_long_result_is_told() -> None:
    answer = after("read_file", "\n".join(f"line {n}" for n in range(1000)))
    assert "line 0\n" in answer
    assert answer.endswith("... and 980 more lines")
    assert len(after("read_file", "x" * 100_000)) < 4000
    assert len(after("read_file", *["word " * 1000] * 10)) < 4000


def test_all_results_of_a_reply_are_told() -> None:
    answer = after("read_file", "first", "error: no such file")
    assert "first" in answer
    assert "did not work: no such file" in answer


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ("error: there is no a.txt", "That did not work: there is no a.txt"),
        ("error: the user refused this call", "You refused that"),
        ("error: the user refused this call: not now", "not now"),
        ("[interrupted]", "interrupted"),
        ("", "no output"),
        ("(no output)", "no output"),
    ],
)
def test_a_failed_or_refused_or_empty_result_is_told_as_such(result: str, told: str) -> None:
    assert told in after("bash", result)


TALK = [
    user("Please look at /srv/app/config.yaml. It is long."),
    {"role": "assistant", "content": "I did."},
    user("set port 8081\nand restart"),
    {"role": "assistant", "content": "Done."},
]


@pytest.mark.parametrize("ask", ["Summarize the conversation.", "summarise this chat so far", "please summarize"])
def test_a_summary_quotes_what_the_user_said(ask: str) -> None:
    answer, calls = reply([*TALK, user(ask)], TOOLS)
    assert calls == []
    assert "- Please look at /srv/app/config.yaml. It is long.\n- set port 8081 and restart" in answer
    assert ask not in answer


def test_a_tldr_is_one_short_line() -> None:
    for messages in (
        [{"role": "system", "content": "Give a one-line TLDR of this conversation."}, *TALK],
        [*TALK, user("TL;DR?")],
        [*TALK, user("Summarize the conversation in one sentence")],
    ):
        answer, _ = reply(messages, [])
        assert answer == "Please look at /srv/app/config.yaml.; set port 8081 and restart"
    assert len(reply([user("word " * 500), user("tldr")], [])[0]) <= 100


def test_a_transcript_within_one_message_is_summarised_too() -> None:
    prompt = {"role": "system", "content": "Write a summary of the conversation that you are given."}
    answer, _ = reply([prompt, user("user: read a.txt\nassistant: It says hi.\nUser: count to 7\n")], [])
    assert "- read a.txt\n- count to 7" in answer
    answer, _ = reply([prompt, user("Summarize this conversation:\n\nAnn: port 80\nBob: no, 81")], [])
    assert "- Ann: port 80\n- Bob: no, 81" in answer


def test_a_summary_of_a_summary_keeps_what_it_quoted() -> None:
    first, _ = reply([*TALK, user("summarize the conversation")], [])
    second, _ = reply([user(first), user("now run it"), user("summarize the conversation")], [])
    assert "config.yaml" in second
    assert "8081" in second
    assert "now run it" in second


STAMPED = user("[2026-11-22 11:36 +01:00]\nset port 8081")


@pytest.mark.parametrize("time", ["[2026-11-22 11:36 +01:00]", "[2026-11-22 11:36]"])
def test_the_time_that_a_message_begins_with_is_passed_over(time: str) -> None:
    assert reply([user(f"{time}\nread a.txt")], TOOLS) == reply([user("read a.txt")], TOOLS)
    assert reply([STAMPED, user(f"{time}\nsummarize the conversation")], [])[0].endswith("\n- set port 8081")
    assert reply([STAMPED, user(f"{time}\nTL;DR?")], [])[0] == "set port 8081"


def test_a_summary_that_goes_on_with_a_transcript_is_summarised_with_it() -> None:
    prompt = {"role": "system", "content": "Write a summary of the conversation that you are given."}
    first, _ = reply([prompt, user("user: [2026-11-22 11:36 +01:00] read a.txt\nassistant: Done.")], [])
    second, _ = reply([prompt, user(f"So far:\n\n{first}\n\nThe transcript:\n\nuser: count to 7\n    - eight")], [])
    assert second.endswith("\n- read a.txt\n- count to 7")


def test_a_summary_of_a_long_conversation_is_bounded() -> None:
    answer, _ = reply([*(user("word " * 5000) for _ in range(200)), user("summarize the conversation")], [])
    assert len(answer) < 5000


def test_nothing_said_makes_a_summary_that_says_so() -> None:
    assert said("summarize the conversation") == "Nothing has been said yet."


def test_summaries_in_an_agents_own_prompt_do_not_keep_it_from_calling_tools() -> None:
    system = {"role": "system", "content": "You are helpful. Earlier messages may be a summary of the conversation."}
    assert reply([system, user("ls")], TOOLS)[1] == [("list_dir", {"path": "."})]


@pytest.mark.parametrize(
    ("text", "last"), [("count to 3", 3), ("Count slowly to 12, please", 12), ("count to 99999999999999999999", 1000)]
)
def test_it_counts(text: str, last: int) -> None:
    assert said(text) == " ".join(str(n) for n in range(1, last + 1))


keys = st.sampled_from(["role", "content", "tool_calls", "tool_call_id", "function"])
values: st.SearchStrategy[Any] = st.sampled_from(
    [
        *("user", "assistant", "tool", "system", "ls", "tldr", "[interrupted]", "", None, 0, True, [], {}),
        *([{"id": [], "function": 3}, 4], [{"text": 3}, None, {"text": "ls"}], [["ls"]]),
        *({"name": "list_dir"}, {"name": []}, {"name": "list_dir", "parameters": {"properties": 3}}),
    ]
)


@given(st.lists(st.dictionaries(keys, values), max_size=4), st.lists(st.dictionaries(keys, values), max_size=2))
def test_no_messages_or_tools_make_it_fail(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> None:
    answer, calls = reply(messages, tools)
    assert isinstance(answer, str)
    assert (answer, calls) == reply(messages, tools)


words = st.sampled_from(
    [
        "write",
        "read",
        "to",
        "in",
        "with",
        "the",
        "file",
        "a.txt",
        "run",
        "`",
        '"',
        "'",
        ":",
        "\n",
        "  ",
        "count",
        "9",
        "..",
        "$",
    ]
)


@given(st.lists(words, max_size=12).map(" ".join) | st.text(max_size=60))
def test_any_text_is_answered_by_text_or_by_calls_with_all_their_arguments(text: str) -> None:
    answer, calls = reply([user(text)], TOOLS)
    assert bool(answer) != bool(calls)
    for name, arguments in calls:
        assert set(arguments) <= set(PARAMETERS[name])
        assert all(isinstance(value, str) for value in arguments.values())
