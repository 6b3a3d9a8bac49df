"""Agents as folders of plain files: what the model is told of them, and the commands about them."""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentkit import App
from agentkit.channel import AnswerAsk, Dispatch
from agentkit.errors import SettingsError
from agentkit.events import ENDINGS, Answer, Ask, Done, Error, Event, Inbound, Notice
from agentkit.session import Opening
from agentkit.settings import Settings

from .loopback import Loopback, Request, Response, call_stream, json_error, text_stream
from .program import WAIT, agentkit, environment


class Listener:
    """A channel that says one thing after the other, and allows what it is asked."""

    name, peer, limit, can_ask, ask_limit = "cli", "cli-user", None, True, None

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._ended = threading.Event()

    def start(self, dispatch: Dispatch, answer: AnswerAsk) -> None:
        self._dispatch, self._answer = dispatch, answer

    def show(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Ask):
            self._answer(self.peer, event.id, Answer("allow"))
        if isinstance(event, ENDINGS):
            self._ended.set()

    def stop(self) -> None:
        pass

    def say(self, text: str) -> Event:
        self._ended.clear()
        self._dispatch(Inbound(text, self.name, self.peer))
        assert self._ended.wait(WAIT)
        return self.events[-1]

    def answer(self, text: str) -> str:
        ending = self.say(text)
        assert isinstance(ending, Done), ending
        return ending.text

    def refusal(self, text: str) -> str:
        ending = self.say(text)
        assert isinstance(ending, Error), ending
        return ending.message

    @property
    def notices(self) -> list[str]:
        return [each.text for each in self.events if isinstance(each, Notice)]


class Talk:
    """An app in a fresh folder, and what its model was sent."""

    def __init__(self, folder: Path, server: Loopback) -> None:
        self.folder, self.server, self.listener = folder, server, Listener()
        self.app: App | None = None

    def begin(self, window: int = 32_000, **more: Any) -> Listener:
        settings = Settings("m", self.server.url, "", window, **more)
        self.app = App(
            settings, [self.listener], environ={"HOME": str(self.folder / "home"), "PATH": os.environ["PATH"]}
        )
        self.app.start()
        return self.listener

    @property
    def prompt(self) -> str:
        return str(self.server.requests[-1].json["messages"][0]["content"])

    @property
    def tools(self) -> list[str]:
        return [each["function"]["name"] for each in self.server.requests[-1].json.get("tools", [])]

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file


def ok(request: Request, index: int) -> Response:
    return text_stream(f"ok {index}")


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Talk]:
    monkeypatch.chdir(tmp_path)
    with Loopback(ok) as server:
        made = Talk(tmp_path, server)
        yield made
        if made.app:
            made.app.stop()


AGENT = "workspace/.agents/assistant/"


def test_the_prompt_of_a_fresh_workspace_is_small_and_has_its_layers_in_order(talk: Talk) -> None:
    talk.begin().say("hi")
    assert len(talk.prompt.encode()) <= 2500
    places = [
        talk.prompt.index(words) for words in ("You are", "## Tools", "## Skills", "## Memory", "Working directory")
    ]
    assert places == sorted(places)
    assert talk.prompt.rstrip().endswith("Markdown.")
    assert re.search(r"\d\d:\d\d", talk.prompt) is None


def test_the_first_message_makes_the_workspace_and_says_so_once(talk: Talk) -> None:
    listener = talk.begin()
    assert not (talk.folder / "workspace").exists()
    listener.say("/list")
    assert not (talk.folder / "workspace").exists()
    listener.say("hi")
    listener.say("hi")
    assert len([text for text in listener.notices if "workspace" in text]) == 1
    assert (talk.folder / AGENT / "AGENT.md").is_file()


def test_an_edit_counts_from_the_next_turn(talk: Talk) -> None:
    listener = talk.begin()
    listener.say("hi")
    talk.write(AGENT + "AGENT.md", "You are a pirate.")
    talk.write(AGENT + "memory/ship.md", "---\ntldr: the ship is called Plum\n---\nA long story.")
    talk.write(AGENT + "skills/sail/SKILL.md", "---\nname: sail\ndescription: How to sail.\n---\nHoist it.")
    talk.write("AGENTS.md", "In this folder we speak plainly.")
    listener.say("hi")
    for words in ("You are a pirate.", "the ship is called Plum", "sail: How to sail.", "we speak plainly"):
        assert words in talk.prompt
    assert "A long story" not in talk.prompt and "Hoist it" not in talk.prompt


def test_consecutive_requests_share_their_prefix_byte_for_byte(talk: Talk) -> None:
    listener = talk.begin()
    for number in range(4):
        listener.say(f"message {number}")
    bodies = [request.json for request in talk.server.requests]
    for before, after in itertools.pairwise(bodies):
        assert json.dumps(after["messages"]).startswith(json.dumps(before["messages"])[:-1])
        assert json.dumps(after["tools"]) == json.dumps(before["tools"])


def test_nothing_to_resume_is_said_and_stops_nothing(tmp_path: Path) -> None:
    with Loopback(ok) as server:
        done = agentkit(tmp_path, "--resume", env=environment(tmp_path, server.url), stdin="hello")
    assert (done.returncode, done.stdout) == (0, "ok 0\n") and "nothing to resume" in done.stderr


def test_the_prefix_is_the_same_after_a_restart(talk: Talk) -> None:
    talk.begin().say("one")
    assert talk.app is not None
    talk.app.stop()
    again = Talk(talk.folder, talk.server)
    app = App(Settings("m", talk.server.url, "", 32_000), [again.listener], opening=Opening(resume=True))
    app.start()
    again.listener.say("two")
    app.stop()
    before, after = (request.json["messages"] for request in talk.server.requests)
    assert json.dumps(after).startswith(json.dumps(before)[:-1])


@pytest.mark.parametrize("broken", [b"---\nname: [\n---\nhi", b"\xff\xfe", b"---\nno end"])
def test_a_broken_file_is_named_once_and_its_siblings_count(talk: Talk, broken: bytes) -> None:
    listener = talk.begin()
    listener.say("hi")
    talk.write(AGENT + "memory/good.md", "I am well")
    talk.write(AGENT + "memory/bad.md", "").write_bytes(broken)
    listener.say("hi")
    listener.say("hi")
    assert len([text for text in listener.notices if "memory/bad.md" in text]) == 1
    assert "I am well" in talk.prompt


def test_an_agent_says_its_model_and_its_tools(talk: Talk) -> None:
    talk.write(AGENT + "AGENT.md", "---\nmodel: other\ntools: [read_file, grep, nonsense]\n---\nYou read.")
    listener = talk.begin()
    listener.say("hi")
    listener.say("hi")
    assert (talk.server.requests[-1].json["model"], talk.tools) == ("other", ["read_file", "grep"])
    assert len([text for text in listener.notices if "nonsense" in text]) == 1
    talk.write(AGENT + "AGENT.md", "---\ndenied_tools: bash, write_file\n---\nYou read.")
    listener.say("hi")
    assert "bash" not in talk.tools and "write_file" not in talk.tools and "edit_file" in talk.tools


def test_a_tool_that_an_agent_may_not_use_is_not_run_when_it_is_called(talk: Talk) -> None:
    talk.write(AGENT + "AGENT.md", "---\ntools: read_file\n---\nYou read.")
    listener = talk.begin()
    with Loopback([call_stream(("bash", {"command": "touch made"})), text_stream("no")]) as server:
        talk.server = server
        assert talk.app is not None
        talk.app.stop()
        listener = talk.begin()
        listener.say("go")
    assert not (talk.folder / "made").exists()
    assert "there is no tool" in talk.server.requests[-1].json["messages"][-1]["content"]


def test_switch_talks_to_another_agent_until_off(talk: Talk) -> None:
    talk.write(AGENT + "AGENT.md", "You are the first.")
    talk.write("workspace/.agents/Second One/AGENT.md", "You are the second.")
    listener = talk.begin()
    listener.say("hi")
    assert "second-one" in listener.answer("/agents")
    assert "second-one answers" in listener.answer("/switch Second One")
    listener.say("hello")
    assert talk.prompt.startswith("You are the second.")
    assert talk.server.requests[-1].said[1:] == ["hello"]
    assert "assistant answers" in listener.answer("/switch off")
    listener.say("back")
    assert talk.server.requests[-1].said[1:] == ["hi", "ok 0", "back"]
    assert "there are assistant, second-one" in listener.refusal("/switch nobody")


def test_a_switch_opens_the_other_agents_current_conversation(talk: Talk) -> None:
    talk.write(AGENT + "AGENT.md", "You are the first.")
    talk.write("workspace/.agents/other/AGENT.md", "You are the other.")
    listener = talk.begin()
    listener.say("/switch other")
    listener.say("remember me")
    assert talk.app is not None
    talk.app.stop()
    listener = talk.begin()
    listener.say("/switch other")
    listener.say("do you?")
    assert talk.server.requests[-1].said[1:] == ["remember me", "ok 0", "do you?"]


def test_a_model_is_selected_until_off(talk: Talk) -> None:
    listener = talk.begin()
    assert listener.answer("/model").startswith("m answers")
    listener.say("/model other")
    listener.say("hi")
    assert talk.server.requests[-1].json["model"] == "other"
    assert isinstance(listener.events[-1], Done) and listener.events[-1].model == "other"
    listener.say("/model off")
    listener.say("hi")
    assert talk.server.requests[-1].json["model"] == "m"


def test_prompt_shows_what_each_layer_takes(talk: Talk) -> None:
    shown = talk.begin().answer("/prompt")
    for name in ("identity", "tool guidelines", "skills", "memory", "bootstrap", "runtime", "channel", "in all"):
        assert re.search(rf"^{name} +[\d,]+ characters +~ *[\d,]+ tokens$", shown, re.MULTILINE), name
    assert "You are" in shown


# -- memory


def test_remember_has_the_model_write_the_tldr_without_tools(talk: Talk) -> None:
    talk.begin().answer("/remember ship The ship is called Plum. It is green.")
    request = talk.server.requests[-1].json
    assert "tools" not in request and request["messages"][-1]["content"].startswith("The ship is called Plum")
    text = (talk.folder / AGENT / "memory/ship.md").read_text()
    assert "ok 0" in text.split("---")[1] and "The ship is called Plum. It is green." in text
    talk.listener.say("hi")
    assert re.search(r"ship \(.*memory/ship\.md\): ok 0", talk.prompt)


def test_a_memory_is_kept_without_a_model_too(talk: Talk) -> None:
    listener = talk.begin()
    with Loopback(lambda request, index: json_error(401, "bad key")) as server:
        talk.server = server
        assert talk.app is not None
        talk.app.stop()
        listener = talk.begin()
        assert "Kept in" in listener.answer("/remember ship The ship is called Plum.\nIt is green.")
    text = (talk.folder / AGENT / "memory/ship.md").read_text()
    assert 'tldr: "The ship is called Plum."' in text and "It is green." in text
    assert any("first line" in each for each in listener.notices)


def test_an_earlier_memory_of_that_name_is_kept(talk: Talk) -> None:
    listener = talk.begin()
    listener.answer("/remember ship old words")
    listener.answer("/remember ship new words")
    (previous,) = (talk.folder / AGENT / "memory/previous").iterdir()
    assert previous.name.startswith("ship-20") and "old words" in previous.read_text()
    assert "new words" in (talk.folder / AGENT / "memory/ship.md").read_text()
    listener.say("hi")
    assert talk.prompt.count("memory/") == 2  # the sample's and this one, not its previous version


@pytest.mark.parametrize("name", ["../x", "a/b", "CON", "x" * 300, "...", "!!", "/etc/passwd", "-"])
def test_a_memorys_name_never_leads_out_of_its_folder(talk: Talk, name: str) -> None:
    before = {path for path in talk.folder.rglob("*") if path.is_file()}
    talk.begin().answer(f"/remember {name} some words")
    new = {path for path in talk.folder.rglob("*") if path.is_file()} - before
    (made,) = [path for path in new if "some words" in path.read_text()]
    assert made.parent == talk.folder / AGENT / "memory"


def test_the_agent_remembers_by_itself_when_it_is_allowed(tmp_path: Path) -> None:
    call = call_stream(("remember", {"name": "ship", "text": "It is green.", "tldr": "about the ship"}))
    with Loopback([call, text_stream("Kept.")]) as server:
        env = environment(tmp_path, server.url)
        refused = agentkit(tmp_path, "run", "--no", "go", env=env)
        assert refused.returncode == 0 and not (tmp_path / AGENT / "memory/ship.md").exists()
    with Loopback([call, text_stream("Kept.")]) as server:
        agentkit(tmp_path, "run", "--yes", "go", env=environment(tmp_path, server.url))
    assert 'tldr: "about the ship"' in (tmp_path / AGENT / "memory/ship.md").read_text()


# -- skills


SAIL = "---\nname: sail\ndescription: How to sail.\nlicense: MIT\nmetadata:\n  author: me\n---\nHoist the sail."


def test_a_skill_is_used_by_its_name_with_arguments(talk: Talk) -> None:
    talk.write(AGENT + "AGENT.md", "You sail.")
    talk.write(AGENT + "skills/sail/SKILL.md", SAIL)
    listener = talk.begin()
    listener.say("/sail to Rome")
    said = talk.server.requests[-1].said[-1]
    assert "Hoist the sail." in said and "to Rome" in said and "license" not in said
    listener.say("/skill sail to Paris")
    assert "to Paris" in talk.server.requests[-1].said[-1]
    assert "/sail" in listener.answer("/skill")


def test_the_agents_own_skill_comes_before_the_workspaces_and_the_users(talk: Talk) -> None:
    talk.write(AGENT + "AGENT.md", "You sail.")
    for folder, text in ((AGENT, "mine"), ("workspace/", "ours"), ("home/.agents/", "everybody's")):
        talk.write(f"{folder}skills/sail/SKILL.md", SAIL.replace("Hoist the sail.", text))
    talk.write("home/.agents/skills/row/SKILL.md", SAIL.replace("sail", "row"))
    listener = talk.begin()
    listener.say("/sail")
    assert "mine" in talk.server.requests[-1].said[-1]
    assert talk.prompt.count("- sail") == 1 and "- row" in talk.prompt


def test_a_skill_with_the_name_of_a_command_is_reported_and_reachable(talk: Talk) -> None:
    talk.write(AGENT + "AGENT.md", "You list.")
    talk.write(AGENT + "skills/list/SKILL.md", SAIL.replace("name: sail", "name: list"))
    listener = talk.begin()
    listener.say("hi")
    listener.say("hi")
    assert len([text for text in listener.notices if "/skill list" in text]) == 1
    listener.answer("/list")
    listener.say("/skill list")
    assert "Hoist" in talk.server.requests[-1].said[-1]


def test_the_folder_of_a_skill_can_be_read_but_not_written(tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    skill = home / ".agents/skills/sail/SKILL.md"
    skill.parent.mkdir(parents=True)
    skill.write_text(SAIL)
    (home / "secret").write_text("no")
    work.mkdir()
    replies = [
        call_stream(("read_file", {"path": str(skill)})),
        call_stream(("write_file", {"path": str(skill), "content": "evil"})),
        call_stream(("read_file", {"path": str(home / "secret")})),
        text_stream("done"),
    ]
    with Loopback(replies) as server:
        agentkit(work, "run", "--yes", "go", env=environment(home, server.url))
        results = [each["content"] for each in server.requests[-1].json["messages"] if each["role"] == "tool"]
    assert "Hoist" in results[0]
    assert all(text.startswith("error:") for text in results[1:])
    assert skill.read_text() == SAIL


# -- which agent


def test_the_agent_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    for name in ("assistant", "zoe"):
        (tmp_path / f"workspace/.agents/{name}").mkdir(parents=True)
        (tmp_path / f"workspace/.agents/{name}/AGENT.md").write_text(f"You are {name}.")
    with Loopback(ok) as server:
        for more, name in (((), "assistant"), (("--agent", "zoe"), "zoe")):
            agentkit(tmp_path, "run", *more, "hi", env=environment(tmp_path, server.url))
            assert f"You are {name}." in server.requests[-1].json["messages"][0]["content"]
        agentkit(tmp_path, "run", "hi", env=environment(tmp_path, server.url, DEFAULT_AGENT="zoe"))
        assert "You are zoe." in server.requests[-1].json["messages"][0]["content"]
        done = agentkit(tmp_path, "run", "--agent", "nobody", "hi", env=environment(tmp_path, server.url))
    assert done.returncode == 2 and "there are assistant, zoe" in done.stderr


def test_an_agent_that_does_not_exist_is_told_before_the_start(talk: Talk) -> None:
    with pytest.raises(SettingsError, match="names no agent"):
        talk.begin(default_agent="nobody")


def test_without_an_assistant_the_first_agent_answers(talk: Talk) -> None:
    for name in ("zoe", "ann"):
        talk.write(f"workspace/.agents/{name}/AGENT.md", f"You are {name}.")
    talk.begin().say("hi")
    assert talk.prompt.startswith("You are ann.")


def test_remembering_alone_makes_no_conversation(talk: Talk) -> None:
    counted = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    with Loopback([text_stream("About the ship.", usage=counted)]) as server:
        talk.server = server
        listener = talk.begin()
        listener.answer("/remember ship The ship is called Plum.")
    assert listener.answer("/list") == "There is no conversation yet."
    assert not [*talk.folder.glob("workspace/sessions/*/*.jsonl")]
