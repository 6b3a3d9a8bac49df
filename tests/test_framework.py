"""What one builds on agentkit: each example of the README, run as it stands there, and what they rest on."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import agentkit
from agentkit import (
    App,
    Done,
    Error,
    Event,
    Flow,
    Interrupted,
    LLMError,
    Node,
    Scripted,
    Store,
    Text,
    Toolbox,
    Turn,
    tool,
)
from agentkit.wire import Reply

from .program import ROOT, WAIT, environment, settled

README = (ROOT / "README.md").read_text()


def example(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", README, re.DOTALL)
    assert found, f"the README has no example {name}"
    return found[1]


def words_tool() -> str:
    found = re.search(r"```python\n(from agentkit import tool\n.*?)```", README, re.DOTALL)
    assert found
    return found[1]


def names(code: str) -> dict[str, Any]:
    """What a file of that code would define when it is imported."""
    found: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "example.py", "exec"), found)
    return found


def lines(code: str) -> int:
    return len([line for line in code.splitlines() if line.strip()])


def said(text: str, store: Store | None = None) -> Store:
    store = store or Store()
    store.append({"role": "user", "content": text})
    return store


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which somebody has chatted, without settings and without a key."""
    for name in (*environment(tmp_path, "x"), "WORKSPACE_DIR", "TOOL_APPROVAL"):
        if name.startswith(("LLM_", "WORKSPACE", "TOOL_")):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(settled(tmp_path))
    yield tmp_path


# -- the README's examples


def test_a_tool_takes_five_lines_and_is_brought_along_by_a_file(here: Path) -> None:
    (here / "my_tools.py").write_text(words_tool())
    (here / "a.txt").write_text("one two three")
    assert lines(words_tool()) <= 5
    code = f"import sys\nfrom agentkit import main\nsys.exit(main({['run', '/prompt', '--tools', 'my_tools.py']}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, env=environment(here), capture_output=True, text=True, timeout=WAIT
    )
    assert done.returncode == 0 and "tools: 10" in done.stdout, done.stderr


def test_a_node_takes_ten_lines() -> None:
    store = said("hello")
    seen: list[Any] = []
    store.run = store.run._replace(publish=seen.append)
    assert lines(example("node")) <= 10
    names(example("node"))["Shout"]().run(store)
    assert store.context.messages[-1]["content"] == "HELLO"
    assert [each.text for each in seen] == ["taking a deep breath"]


def test_a_flow_of_two_agents_plans_until_the_other_one_is_content() -> None:
    checked = names(example("flow"))["Checked"]
    model = Scripted("1. Copy.", "No backup!", "1. Back up. 2. Copy.", "OK, do it.")
    assert checked(model).run(said("Move it.")) == "1. Back up. 2. Copy."
    assert [each[-1]["content"] for each in model.asked] == [
        "Move it.",
        "1. Copy.",
        "No backup!",
        "1. Back up. 2. Copy.",
    ]
    assert checked(Scripted(*["a", "no"] * 3)).run(said("Move it.")) == "a"


def test_the_flow_of_the_readme_runs_on_the_demo_model(here: Path) -> None:
    (here / "plan.py").write_text(example("flow"))
    done = subprocess.run(
        [sys.executable, "plan.py"], cwd=here, env=environment(here), capture_output=True, text=True, timeout=WAIT
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_a_bot_in_one_file_has_the_whole_program_and_its_own_tool(here: Path) -> None:
    (here / "bot.py").write_text(example("bot"))

    def bot(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "bot.py", *words]
        return subprocess.run(
            command,
            cwd=here,
            env=environment(here),
            capture_output=True,
            text=True,
            timeout=WAIT,
            stdin=subprocess.DEVNULL,
        )

    assert bot("--version").stdout == f"agentkit {agentkit.__version__}\n"
    assert "tools: 10" in bot("run", "/prompt").stdout
    assert bot("run", "hello").returncode == 0
    assert bot("sing").returncode == 2


def test_a_channel_takes_fifteen_lines(here: Path) -> None:
    assert lines(example("channel")) <= 18 and lines(example("channel").partition("class")[2]) <= 15
    start = "\nimport time\nwith App(channels=[Lines()]) as app:\n    threading.Event().wait()\n"
    program = subprocess.Popen(
        [sys.executable, "-c", example("channel") + start],
        cwd=here,
        env=environment(here),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        assert program.stdin and program.stdout
        program.stdin.write("hello\n/nonsense\n")
        program.stdin.flush()
        answers = program.stdout.readline(), program.stdout.readline()
        program.kill()
    assert all(map(str.strip, answers)) and any("nonsense" in each for each in answers)


def test_a_web_handler_answers_each_person_in_a_conversation_of_their_own(here: Path) -> None:
    found = names(example("web"))
    model = Scripted(*[lambda seen: f"message {len(seen.messages)}"] * 3, LLMError("auth", "The key was refused."))
    app = App(model=model)
    found["Handler"].do_POST.__globals__["app"] = app

    def post(user: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=WAIT)
        connection.request("POST", "/", "hi", {"X-User": user})
        answer = connection.getresponse()
        read = answer.status, answer.read().decode()
        connection.close()
        return read

    with app, ThreadingHTTPServer(("127.0.0.1", 0), found["Handler"]) as server:
        server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert [post("ann"), post("bob"), post("ann")] == [(200, "message 1"), (200, "message 1"), (200, "message 3")]
        assert post("eve") == (502, "The key was refused.")
        server.shutdown()


def test_a_test_with_the_scripted_model_passes_as_it_stands(here: Path) -> None:
    (here / "my_tools.py").write_text(words_tool())
    (here / "test_mine.py").write_text(example("test"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    done = subprocess.run(command, cwd=here, env=environment(here), capture_output=True, text=True, timeout=WAIT * 2)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


# -- what they rest on


def test_all_that_agentkit_gives_is_there_typed_and_told_about() -> None:
    tree = ast.parse((ROOT / "agentkit" / "__init__.py").read_text())
    typed = {each.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for each in node.names}
    assert typed - {None, "annotations"} == set(agentkit.__all__)
    for name in agentkit.__all__:
        assert getattr(agentkit, name).__doc__, f"{name} has no docstring"
    assert set(agentkit.__all__) <= set(dir(agentkit))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = agentkit.Nonsense


def test_importing_loads_nothing_that_is_not_used() -> None:
    code = "import sys, agentkit; agentkit.tool; print(*sorted(each for each in sys.modules if 'agentkit' in each))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=WAIT)
    loaded = set(done.stdout.split())
    assert loaded <= {f"agentkit{each}" for each in ("", ".toolbox", ".cancel", ".errors", ".records")}


def test_the_events_of_an_answer_come_as_they_happen(here: Path) -> None:
    with App(model=Scripted("Good morning.")) as app:
        events = list(app.stream("hello", "ann"))
    assert [type(each).__name__ for each in events if not isinstance(each, agentkit.Notice)] == [
        "TurnStarted",
        "Text",
        "Done",
    ]
    assert {each.turn for each in events} == {events[0].turn}
    kept = [json.loads(line) for file in here.rglob("*.jsonl") for line in file.read_text().splitlines()]
    assert [(each["role"], each["content"]) for each in kept if "role" in each] == [
        ("user", "hello"),
        ("assistant", "Good morning."),
    ]


class Waiting(Node):
    """A model that says a word, and then nothing until it is stopped."""

    def prep(self, store: Store) -> Any:
        return store.run.cancel

    def exec(self, cancel: Any) -> Any:
        yield Text("well")
        cancel.wait(WAIT)
        return Reply("")


def test_an_answer_that_takes_too_long_is_stopped(here: Path) -> None:
    with App(model=Waiting()) as app, pytest.raises(LLMError, match=r"within 0\.2 s") as raised:
        app.ask("hello", timeout=0.2)
    assert raised.value.category == "timeout"


def test_whoever_stops_listening_stops_that_turn_and_no_other(here: Path) -> None:
    def has_begun(events: Iterator[Event]) -> bool:
        return any(isinstance(each, Text) for each in events)

    with App(model=Waiting()) as app:
        first, other = app.stream("one", "ann"), app.stream("two", "bob")
        assert has_begun(first) and has_begun(other)
        first.close()
        second = app.stream("three", "ann")
        assert has_begun(second), "what was stopped does not hold up the next one"
        assert len(app.lanes.view()) == 2, "the other one goes on"
        second.close()
        other.close()


def test_what_asks_is_refused_where_nobody_can_be_asked(here: Path) -> None:
    @tool(asks=True)
    def launch() -> str:
        """Launch it."""
        return "launched"

    model = Scripted(("launch", {}), "It was refused.")
    with App(model=model, tools=[launch]) as app:
        events = list(app.stream("launch it"))
    told = next(each for each in events if isinstance(each, agentkit.Notice) and "launch" in each.text)
    assert "TOOL_APPROVAL" in told.text and "DISCORD" not in told.text
    assert "launched" not in str(model.asked[1])


def test_an_agent_that_goes_in_circles_has_no_answer(here: Path) -> None:
    with App(model=Scripted(*[("list_dir", {"path": "."})] * 5)) as app, pytest.raises(LLMError, match="5 times"):
        app.ask("what is there?")


def test_an_app_that_does_not_run_says_so(here: Path) -> None:
    app = App(model=Scripted("never"))
    with pytest.raises(RuntimeError, match="start"):
        app.ask("hello")
    with app:
        assert app.ask("hello") == "never"
    with pytest.raises(RuntimeError, match="start"):
        app.ask("hello")


def test_an_app_that_is_stopped_leaves_nobody_waiting(here: Path) -> None:
    app, endings = App(model=Waiting()), []
    with app:
        events = app.stream("hello")
        assert any(isinstance(each, Text) for each in events)
    endings = list(events)
    assert isinstance(endings[-1], (Error, Interrupted))


def test_a_script_that_is_at_its_end_says_which_line_is_missing() -> None:
    ending = Turn(Scripted()).run(said("hello"))
    assert isinstance(ending, Error) and "no line for request 1" in ending.message


def test_a_turn_with_tools_of_ones_own_offers_them_and_runs_them() -> None:
    @tool
    def add(one: int, two: int) -> str:
        """Add two numbers."""
        return str(one + two)

    store = said("What are 1 and 2, and 3 and 4?")
    model = Scripted([("add", {"one": 1, "two": 2}), ("add", {"one": 3, "two": 4})], "3 and 7.")
    ending = Turn(model, Toolbox.of(add)).run(store)
    assert isinstance(ending, Done) and ending.text == "3 and 7."
    assert [each["function"]["name"] for each in store.context.tools] == ["add"]
    assert [each["content"] for each in store.context.messages if each["role"] == "tool"] == ["3", "7"]


def test_a_script_may_answer_by_what_it_is_sent() -> None:
    class Twice(Flow):
        def walk(self, store: Store, inputs: None) -> list[str]:
            return [Turn(model).run(said(text, store.fork("be short"))).text for text in ("a", "b")]  # type: ignore[attr-defined]

    model = Scripted(*[lambda seen: f"{seen.system}: {seen.messages[-1]['content']}"] * 2)
    assert Twice().run(Store()) == ["be short: a", "be short: b"]
