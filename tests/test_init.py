"""`agentkit init`: question by question on a terminal, from the environment elsewhere; what was there stays."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import termios
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import dotenv
from agentkit.envfile import Envfile, added, quoted, template
from agentkit.errors import SettingsError
from agentkit.gitignore import is_exposed
from agentkit.init import init
from agentkit.servers import answering
from agentkit.settings import VARIABLES, Settings, load

from .loopback import Answer, Loopback, Request, Response, call_stream, json_answer, json_error, text_stream
from .program import ROOT, Terminal, environment

KEY = "sk-canary-0123456789"
PROGRAM = (
    "-c",
    "import os, sys; from pathlib import Path; from agentkit.init import init\n"
    "sys.exit(init(Path.cwd() / sys.argv[1], os.environ))",
)
FULL_DISK = ("-c", "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n" + PROGRAM[1])
FOUR = {"LLM_BASE_URL": "https://a/v1", "LLM_API_KEY": KEY, "LLM_MODEL": "m", "LLM_CONTEXT_WINDOW": "32k"}


def answered(models: int = 3, key: str = KEY, status: int = 200) -> Callable[[Request, int], Answer]:
    """A server that lists so many models, if it lists any, and lets in who has the key."""

    def answer(request: Request, index: int) -> Answer:
        if key and request.headers.get("authorization") != f"Bearer {key}":
            return json_error(401, "Incorrect API key provided")
        if request.path == "/v1/models" and models:
            return json_answer({"data": [{"id": f"model-{i:03}", "max_model_len": 40_960} for i in range(models)]})
        if request.path == "/v1/chat/completions":
            if status != 200:
                return json_error(status, f"The model {request.json['model']} does not exist", code="model_not_found")
            tools = request.json.get("tools")
            return call_stream((tools[0]["function"]["name"], {})) if tools else text_stream("1, ", "2, 3")
        return json_error(404, "no such path")

    return answer


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(answered()) as loopback:
        yield loopback


class Person(Terminal):
    """Somebody who answers."""

    def __init__(self, folder: Path, target: str = ".", **environ: str) -> None:
        self.all = ""
        super().__init__(folder, target, env=environment(folder, **environ), program=PROGRAM)

    def answer(self, question: str, text: str) -> str:
        """Wait for a question, which begins so, and answer it; returns what came before and with it."""
        seen = self.expect(rf"{question}[^>]*> ")
        self.send(f"{text}\r")
        return seen

    def takes(self, url: str, key: str = KEY, model: str = "1") -> None:
        """The usual way: that server, key and model, and the window that the server tells."""
        self.answer("Which server", "7")
        self.answer("Its URL", url)
        self.answer("Its API key", key)
        self.answer("Which model", model)
        self.answer("Its context", "")

    def _taken(self, data: bytes) -> None:
        self.all += data.decode("utf-8", "replace")

    @property
    def said(self) -> str:
        """All it has said, unfolded."""
        return " ".join(re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", self.all).split())


def without_terminal(capsys: pytest.CaptureFixture[str], folder: Path, **environ: str) -> tuple[int, str]:
    """The exit code, and what was said."""
    code = init(folder, environ)
    said = capsys.readouterr()
    return code, said.out + said.err


def settings(folder: Path, **environ: str) -> Settings:
    return load(environ, folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- at a terminal


def test_four_answers_make_a_file_that_works_and_a_workspace(tmp_path: Path, server: Loopback) -> None:
    with Person(tmp_path, "bot") as person:
        person.takes(server.url, model="2")
        assert person.wait() == 0
    made = settings(tmp_path / "bot")
    assert (made.llm_base_url, made.llm_api_key) == (server.url, KEY)
    assert (made.llm_model, made.llm_context_window) == ("model-001", 40_960)
    assert mode(tmp_path / "bot" / ".env") == 0o600
    assert (tmp_path / "bot" / "workspace" / ".agents" / "assistant" / "AGENT.md").is_file()
    assert "It answers, streams, calls tools" in person.said
    assert "cd " in person.said and "agentkit doctor" in person.said
    assert KEY not in person.all


def test_a_second_run_asks_nothing_and_changes_nothing(tmp_path: Path, server: Loopback) -> None:
    with Person(tmp_path) as person:
        person.takes(server.url)
        assert person.wait() == 0
    before = (tmp_path / ".env").read_bytes(), (tmp_path / ".env").stat()
    with Person(tmp_path) as person:
        assert person.wait() == 0
    assert before == ((tmp_path / ".env").read_bytes(), (tmp_path / ".env").stat())
    assert "Nothing to do" in person.said
    assert person.said.count("is in .env already: kept.") == 4


def test_what_is_in_the_file_stays_and_what_lacks_is_added_below(tmp_path: Path, server: Loopback) -> None:
    old = f"# mine, ü\r\nLLM_MODEL = kept # yes\r\nLLM_BASE_URL={server.url}\r\nexport OTHER='x'".encode()
    (tmp_path / ".env").write_bytes(old)
    with Person(tmp_path) as person:
        person.answer("Its API key", KEY)
        person.answer("Its context", "128k")
        assert person.wait() == 0
    new = (tmp_path / ".env").read_bytes()
    assert new.startswith(old + b"\r\n#") and new.count(b"\n") == new.count(b"\r\n")
    assert "LLM_MODEL is in .env already: kept." in person.said
    assert settings(tmp_path) == load(
        {**FOUR, "LLM_BASE_URL": server.url, "LLM_MODEL": "kept", "LLM_CONTEXT_WINDOW": "128k"},
        tmp_path,
        env_file=tmp_path / ".env",
    )


def test_lines_that_are_blank_or_cannot_be_used_are_made_good_by_lines_below(tmp_path: Path, server: Loopback) -> None:
    old = "LLM_MODEL=\nLLM_BASE_URL=htp://x\nLLM_API_KEY=\nLLM_CONTEXT_WINDOW=many\n"
    (tmp_path / ".env").write_text(old)
    with Person(tmp_path) as person:
        person.answer("Which server", "7")
        person.answer("Its URL", server.url)
        person.answer("Its API key", KEY)
        person.answer("Which model", "3")
        person.answer("Its context", "")
        assert person.wait() == 0
    assert (tmp_path / ".env").read_text().startswith(old)
    assert "line 2: LLM_BASE_URL must begin with http:// or https://" in person.said
    assert (settings(tmp_path).llm_model, settings(tmp_path).llm_context_window) == ("model-002", 40_960)


def test_a_key_that_is_refused_can_be_typed_again(tmp_path: Path, server: Loopback) -> None:
    with Person(tmp_path) as person:
        person.answer("Which server", "7")
        person.answer("Its URL", server.url)
        person.answer("Its API key", "sk-another-9876543210")
        assert "That does not work" in person.answer("What now", "")
        person.answer("Its API key", KEY)
        person.answer("Which model", "model-002")
        person.answer("Its context", "")
        assert person.wait() == 0
    assert settings(tmp_path).llm_api_key == KEY
    assert "sk-another" not in person.all


def test_a_server_that_is_not_there_can_be_kept_as_it_is(tmp_path: Path) -> None:
    with Person(tmp_path) as person:
        person.answer("Which server", "7")
        person.answer("Its URL", "http://127.0.0.1:9/v1")
        person.answer("Its API key", "")
        person.answer("What now", "4")
        person.answer("The model's name", "some model: 'x' # ${HOME}")
        person.answer("Its context", "")
        assert person.wait() == 0
    made = settings(tmp_path, HOME="/root")
    assert (made.llm_model, made.llm_api_key, made.llm_context_window) == ("some model: 'x' # ${HOME}", "", 32_000)


def test_a_server_that_is_not_there_can_be_replaced(tmp_path: Path, server: Loopback) -> None:
    with Person(tmp_path) as person:
        person.answer("Which server", "7")
        person.answer("Its URL", "http://127.0.0.1:9/v1")
        person.answer("Its API key", "")
        person.answer("What now", "1")
        person.answer("What now", "2")
        person.takes(server.url)
        assert person.wait() == 0
    assert settings(tmp_path).llm_base_url == server.url


def test_a_model_in_the_file_that_fails_is_replaced_below_only_when_that_is_chosen(tmp_path: Path) -> None:
    def answer(request: Request, index: int) -> Answer:
        known = request.path != "/v1/chat/completions" or request.json["model"] != "gone"
        return answered(status=200 if known else 404)(request, index)

    with Loopback(answer) as server:
        old = f"LLM_BASE_URL={server.url}\nLLM_API_KEY={KEY}\nLLM_MODEL=gone\nLLM_CONTEXT_WINDOW=8k\n"
        (tmp_path / ".env").write_text(old)
        with Person(tmp_path) as person:
            person.answer("What now", "5")
            assert person.wait() == 0
        assert (tmp_path / ".env").read_text() == old
        with Person(tmp_path) as person:
            person.answer("What now", "4")
            person.answer("Which model", "1")
            person.answer("Its context", "")
            assert person.wait() == 0
    assert ".env line 3, 4" in person.said
    assert (tmp_path / ".env").read_text().startswith(old)
    assert settings(tmp_path).llm_model == "model-000"


def test_a_server_that_lists_nothing_has_its_model_typed(tmp_path: Path) -> None:
    with Loopback(answered(models=0)) as server, Person(tmp_path) as person:
        person.answer("Which server", "7")
        person.answer("Its URL", "localhost:8080")
        person.answer("LLM_BASE_URL must begin with", server.url)
        person.answer("Its API key", KEY)
        person.answer("The model's name", "")
        person.answer("LLM_MODEL is missing", "m")
        person.answer("Its context", "12")
        person.answer("LLM_CONTEXT_WINDOW '12' must be", "64k")
        assert person.wait() == 0
    assert settings(tmp_path).llm_context_window == 64_000


def test_an_address_that_is_no_api_suggests_another_server(tmp_path: Path, server: Loopback) -> None:
    page = Response(content_type="text/html", framing="length", chunks=[b"<html>Welcome!</html>"])
    with Loopback(lambda request, index: page) as site, Person(tmp_path) as person:
        person.answer("Which server", "7")
        person.answer("Its URL", site.url)
        person.answer("Its API key", "")
        assert "LLM_BASE_URL" in person.answer("What now", "")
        person.takes(server.url)
        assert person.wait() == 0
    assert settings(tmp_path).llm_base_url == server.url


def test_many_models_are_narrowed_down_by_a_part_of_the_name(tmp_path: Path) -> None:
    with Loopback(answered(models=300)) as server, Person(tmp_path) as person:
        person.answer("Which server", "7")
        person.answer("Its URL", server.url)
        person.answer("Its API key", KEY)
        assert "model-015" not in person.answer("Which model", "MODEL-11")
        assert "model-110" in person.answer("Which model", "nothing")
        assert "no such model" in person.answer("Which model", "-117")
        assert "model-117" in person.answer("Which model", "")
        person.answer("Its context", "")
        assert person.wait() == 0
    assert settings(tmp_path).llm_model == "model-117"


def test_a_model_that_is_not_listed_is_taken_when_it_is_typed_twice(tmp_path: Path, server: Loopback) -> None:
    with Person(tmp_path) as person:
        person.answer("Which server", "7")
        person.answer("Its URL", server.url)
        person.answer("Its API key", KEY)
        person.answer("Which model", "beta")
        person.answer("Which model", "beta")
        person.answer("Its context", "8k")
        assert person.wait() == 0
    assert settings(tmp_path).llm_model == "beta"


def test_none_for_now_leaves_a_file_to_fill_in_and_the_demo(tmp_path: Path) -> None:
    with Person(tmp_path) as person:
        person.answer("Which server", "8")
        assert person.wait() == 0
    assert settings(tmp_path).demo
    assert "To be filled in" in person.said


@pytest.mark.parametrize(
    ("pasted", "held"),
    [
        (f"  {KEY}\t ", KEY),
        (f"\x1b[200~{KEY}\x1b[201~", KEY),
        (f"'{KEY}'", KEY),
        (f"oops\x15{KEY}x\x7f", KEY),
        (KEY * 400, KEY * 400),
    ],
)
def test_a_key_may_be_pasted_as_it_comes(tmp_path: Path, pasted: str, held: str) -> None:
    with Loopback(answered(key=held)) as server, Person(tmp_path) as person:
        person.takes(server.url, key=pasted)
        assert person.wait() == 0
    assert settings(tmp_path).llm_api_key == held
    assert KEY not in person.all


@pytest.mark.parametrize(
    ("pasted", "why"),
    [
        (f"Bearer {KEY}", "begins with the word Bearer"),
        (f"{KEY} {KEY}", "character 21 is a blank"),
        (f"{KEY}\x1b[A", "copy the key again"),
        (f"{KEY}\n{KEY}", "paste it as one line"),
    ],
)
def test_what_is_no_key_is_told_and_asked_for_again(tmp_path: Path, server: Loopback, pasted: str, why: str) -> None:
    with Person(tmp_path) as person:
        person.answer("Which server", "7")
        person.answer("Its URL", server.url)
        person.answer("Its API key", pasted)
        person.expect(r"\n> ")
        assert why in person.said
        person.send(f"{KEY}\r")
        person.answer("Which model", "1")
        person.answer("Its context", "")
        assert person.wait() == 0
    assert settings(tmp_path).llm_api_key == KEY
    assert KEY not in person.all


# -- leaving


STEPS = [("Which server", "7"), ("Its URL", ""), ("Its API key", KEY), ("Which model", "1"), ("Its context", "")]


@pytest.mark.parametrize("key", ["\x03", "\x04"])
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_who_leaves_at_any_question_has_written_nothing(tmp_path: Path, server: Loopback, step: int, key: str) -> None:
    with Person(tmp_path, "bot") as person:
        for question, text in STEPS[:step]:
            person.answer(question, text or server.url)
        person.expect(rf"{STEPS[step][0]}[^>]*> ")
        person.send(key)
        assert person.wait() == 130
    assert "Nothing has been written." in person.said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [1, 2])
def test_a_signal_to_end_leaves_nothing_and_a_terminal_as_it_was(tmp_path: Path, step: int) -> None:
    with Person(tmp_path, "bot") as person:
        before = termios.tcgetattr(person.fd)[3]
        for question, text in STEPS[:step]:
            person.answer(question, text or "http://127.0.0.1:9/v1")
        person.expect(rf"{STEPS[step][0]}[^>]*> ")
        os.kill(person.pid, signal.SIGTERM)
        assert person.wait() == 128 + signal.SIGTERM
        assert termios.tcgetattr(person.fd)[3] == before
    assert list(tmp_path.iterdir()) == []


def test_who_leaves_while_a_server_is_waited_for_need_not_wait(tmp_path: Path) -> None:
    def answer(request: Request, index: int) -> Answer:
        return [60.0]

    with Loopback(answer) as server, Person(tmp_path) as person:
        person.answer("Which server", "7")
        person.answer("Its URL", server.url)
        person.answer("Its API key", "")
        server.wait_for_requests(1)
        person.send("\x03")
        assert person.wait() == 130
    assert list(tmp_path.iterdir()) == []


# -- terminals of every kind


def test_a_narrow_terminal_without_abilities_that_knows_ascii_only(tmp_path: Path) -> None:
    def answer(request: Request, index: int) -> Answer:
        if request.path == "/v1/models":
            return json_answer({"data": [{"id": "größe\x1b[31m-1"}, {"id": "plain"}]})
        return answered(key="")(request, index)

    with Loopback(answer) as server, Person(tmp_path, LC_ALL="POSIX", LANG="", TERM="dumb", COLUMNS="40") as person:
        person.answer("Which server", "7")
        person.answer("Its URL", server.url)
        person.answer("Its API key", "")
        person.answer("Which model", "plain")
        person.answer("Its context", "8k")
        assert person.wait() == 0
    assert person.all.isascii() and "\x1b" not in person.all and "gr??e-1" in person.all
    long = [line for line in person.all.splitlines() if len(line) > 40]
    assert not [line for line in long if " " in line.strip()]


# -- without a terminal


def test_without_a_terminal_or_settings_there_is_a_file_to_fill_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = without_terminal(capsys, tmp_path / "bot")
    assert code == 0 and mode(tmp_path / "bot" / ".env") == 0o600
    assert settings(tmp_path / "bot").demo
    assert "To be filled in" in said and "LLM_MODEL" in said
    assert (tmp_path / "bot" / "workspace" / ".agents" / "assistant" / "AGENT.md").is_file()


def test_without_a_terminal_the_environment_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = {"LLM_API_KEY_3": "sk-3", "LLM_EXTRA": '{"temperature": 0.2,\n "stop": "\'${X}"}', "OTHER": "x"}
    code, said = without_terminal(capsys, tmp_path, **FOUR, **more)
    made = settings(tmp_path)
    assert code == 0
    assert made == load({**FOUR, **more}, tmp_path)
    assert KEY not in said and "OTHER" not in (tmp_path / ".env").read_text()


def test_twice_is_as_good_as_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for environ in ({}, FOUR):
        folder = tmp_path / str(len(environ))
        assert without_terminal(capsys, folder, **environ)[0] == 0
        before = (folder / ".env").read_bytes()
        code, said = without_terminal(capsys, folder, **environ)
        assert code == 0 and "Nothing to do" in said
        assert (folder / ".env").read_bytes() == before


def test_the_file_wins_over_what_would_be_added_and_the_environment_over_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("LLM_MODEL=mine\nLLM_CONTEXT_WINDOW='32000'\nLLM_API_KEY=sk-mine-0123\n")
    _, said = without_terminal(capsys, tmp_path, **FOUR)
    assert settings(tmp_path).llm_model == "mine"
    assert "Added to" in said and "LLM_BASE_URL." in said
    assert "LLM_MODEL is set in the environment too, to another value" in said
    assert "LLM_API_KEY is set in the environment too, to another value" in said
    assert "LLM_CONTEXT_WINDOW is set" not in said  # 32k is the same
    assert "sk-mine" not in said and KEY not in said


def test_a_key_is_not_put_beside_another_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".env").write_text("LLM_BASE_URL=http://localhost:8080/v1\n")
    _, said = without_terminal(capsys, tmp_path, **FOUR)
    assert KEY not in (tmp_path / ".env").read_text()
    assert "it is for another server" in said


def test_what_settings_refuse_is_said_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = without_terminal(capsys, tmp_path, **{**FOUR, "LLM_BASE_URL": "htp://x", "LLM_TIMEOUT": "soon"})
    assert code == 0
    assert set(dotenv.read(tmp_path / ".env", {}).entries) == set(FOUR) - {"LLM_BASE_URL"}
    assert "Not taken from the environment: LLM_BASE_URL must begin with http://" in said


def test_a_key_that_is_missing_is_not_taken_for_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    three = {name: value for name, value in FOUR.items() if name != "LLM_API_KEY"}
    _, said = without_terminal(capsys, tmp_path / "a", **three)
    assert "LLM_API_KEY is missing" in said
    without_terminal(capsys, tmp_path / "b", **three, LLM_API_KEY="")
    assert settings(tmp_path / "b").llm_api_key == ""


def test_agents_that_are_there_stay_and_workspace_dir_names_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = tmp_path / "own" / ".agents" / "poet" / "AGENT.md"
    agent.parent.mkdir(parents=True)
    agent.write_text("You rhyme.")
    assert without_terminal(capsys, tmp_path, WORKSPACE_DIR="own")[0] == 0
    assert [each.name for each in (tmp_path / "own" / ".agents").iterdir()] == ["poet"]
    (tmp_path / ".env").write_text("WORKSPACE_DIR=./other\n")
    assert without_terminal(capsys, tmp_path)[0] == 0
    assert (tmp_path / "other" / ".agents" / "assistant").is_dir()
    assert not (tmp_path / "workspace").exists()


def test_a_workspace_that_cannot_be_keeps_nobody_from_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, why in (("no/such", "does not exist"), ("~no body", "names the home folder of nobody")):
        code, said = without_terminal(capsys, tmp_path / name[:2], **FOUR, WORKSPACE_DIR=name)
        assert code == 0 and "No workspace has been made. WORKSPACE_DIR" in said and why in said
        assert settings(tmp_path / name[:2]).llm_model == "m"


@pytest.mark.parametrize("others", [0o644, 0o640])
def test_a_file_that_others_can_read_is_closed_to_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], others: int
) -> None:
    (tmp_path / ".env").write_text("LLM_MODEL=m\n")
    (tmp_path / ".env").chmod(others)
    _, said = without_terminal(capsys, tmp_path)
    assert mode(tmp_path / ".env") == 0o600 and "now only you can" in said
    assert (tmp_path / ".env").read_text() == "LLM_MODEL=m\n"


# -- what is in the way


def a_link(path: Path) -> None:
    (path.parent / "shared").write_text("X=1\n")
    path.symlink_to("shared")


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def write_protected(path: Path) -> None:
    path.write_text("X=1\n")
    path.chmod(0o400)


IN_THE_WAY: dict[str, Callable[[Path], object]] = {
    "is a link to": a_link,
    "cannot be read (Too many levels": a_loop,
    "is a folder": Path.mkdir,
    "is a pipe or device": os.mkfifo,
    "is not UTF-8": lambda path: path.write_bytes("X=1\nY=ä\n".encode("latin-1")),
    "holds a NUL character": lambda path: path.write_bytes("X=1\n".encode("utf-16-le")),
    "opens a quote": lambda path: path.write_text("X=1\nY='open\nZ=1\n"),
}


def seen(folder: Path) -> dict[str, object]:
    return {
        each.name: each.read_bytes() if each.is_file() else each.lstat().st_mode for each in sorted(folder.iterdir())
    }


@pytest.mark.parametrize("why", IN_THE_WAY)
def test_a_file_that_cannot_be_added_to_is_left_alone_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    IN_THE_WAY[why](tmp_path / ".env")
    before = seen(tmp_path)
    code, said = without_terminal(capsys, tmp_path, **FOUR)
    assert code == 2 and why in said
    assert len(said.splitlines()) == 2
    assert seen(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is protected from root")
def test_a_file_or_folder_that_is_write_protected_stays_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_protected(tmp_path / ".env")
    code, said = without_terminal(capsys, tmp_path, **FOUR)
    assert code == 2 and "write-protected" in said and (tmp_path / ".env").read_text() == "X=1\n"
    tmp_path.chmod(0o500)
    code, said = without_terminal(capsys, tmp_path / "new", **FOUR)
    assert code == 2 and "write-protected" in said


def test_a_link_to_a_file_that_lacks_nothing_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shared").write_bytes(added(b"", FOUR))
    (tmp_path / ".env").symlink_to("shared")
    (tmp_path / "shared").chmod(0o600)
    assert without_terminal(capsys, tmp_path)[0] == 0
    assert (tmp_path / ".env").is_symlink()


def test_a_folder_whose_parent_is_missing_or_that_is_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert without_terminal(capsys, tmp_path / "no" / "such")[0] == 2
    code, said = without_terminal(capsys, tmp_path / "file")
    assert code == 2 and "is no folder" in said
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# mine\n")
    env = environment(tmp_path, **FOUR, PYTHONDONTWRITEBYTECODE="1")
    before = seen(tmp_path)
    done = subprocess.run(
        [sys.executable, *FULL_DISK, "."], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True
    )
    assert done.returncode == 1
    assert b"File too large" in done.stderr and b"Nothing has been written." in done.stderr
    assert seen(tmp_path) == before


def test_what_somebody_writes_meanwhile_stays(tmp_path: Path, server: Loopback) -> None:
    with Person(tmp_path) as person:
        for question, text in STEPS[:4]:
            person.answer(question, text or server.url)
        person.expect(r"Its context[^>]*> ")
        (tmp_path / ".env").write_text("LLM_MODEL=theirs\n")
        person.send("\r")
        assert person.wait() == 0
    assert "LLM_MODEL has come into .env meanwhile: kept." in person.said
    assert (tmp_path / ".env").read_text().startswith("LLM_MODEL=theirs\n")
    assert (settings(tmp_path).llm_model, settings(tmp_path).llm_base_url) == ("theirs", server.url)


# -- one file, without a package on disk


def test_it_works_from_inside_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "agentkit.zip", "w") as archive:
        for path in (ROOT / "agentkit").rglob("*.py"):
            archive.write(path, path.relative_to(ROOT))
        sample = ROOT / "workspace" / ".agents" / "assistant"
        for path in sample.rglob("*.md"):
            archive.write(path, Path("agentkit/sample/.agents/assistant") / path.relative_to(sample))
    env = environment(tmp_path) | {"PYTHONPATH": str(tmp_path / "agentkit.zip")}
    done = subprocess.run(
        [sys.executable, *PROGRAM, "bot"], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    made = tmp_path / "bot" / "workspace" / ".agents" / "assistant"
    assert (made / "AGENT.md").read_bytes() == (sample / "AGENT.md").read_bytes()


# -- the text of the file


STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
TRICKY = st.text("ab$ {}:-'\"\\#=\n\r\t`", max_size=20)


@given(STORABLE | TRICKY, STORABLE | TRICKY)
def test_every_value_is_read_back_as_it_was_by_us_and_by_python_dotenv(one: str, other: str) -> None:
    theirs = pytest.importorskip("dotenv")
    text = added(b"OLD='it''s'", {"ONE": one, "OTHER": other}).decode()
    for values in (dotenv.parse(text, {}).entries, dotenv.parse(template({"LLM_MODEL": one}), {}).entries):
        assert (values.get("ONE") or values["LLM_MODEL"]).value == one
    assert dotenv.parse(text, {}).entries["OTHER"].value == other
    read = theirs.dotenv_values(stream=io.StringIO(text))
    assert (read["ONE"], read["OTHER"]) == (one, other)


@given(st.text("AB=ab$ {}'\"\\#\n\r", max_size=40))
def test_whatever_a_file_holds_its_values_stay_and_new_ones_are_read_or_it_is_refused(old: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".env"
        path.write_bytes(old.encode())
        try:
            before = Envfile(path, ".env", {}).found
        except SettingsError as refused:
            assert refused.problems[0].startswith(".env line ")
            return
    new = added(old.encode(), {"NEW": "it's", "MORE": '"'})
    assert new.startswith(old.encode())
    after = {name: each.value for name, each in dotenv.parse(new.decode(), {}).entries.items()}
    assert after == {name: each.value for name, each in before.entries.items()} | {"NEW": "it's", "MORE": '"'}


@pytest.mark.parametrize(
    ("value", "text"),
    [("", ""), ("gpt-4.1", "gpt-4.1"), ("a b", "'a b'"), ("it's", r"'it\'s'"), ("a\nb", r'"a\nb"'), ("ö", "'ö'")],
)
def test_only_what_needs_quotes_has_them(value: str, text: str) -> None:
    assert quoted(value) == text


@pytest.mark.parametrize(
    ("old", "end"),
    [(b"", b"\n"), (b"A=1", b"\n"), (b"A=1\r\nB=2", b"\r\n"), (b"A=1\r", b"\r"), (b"\xef\xbb\xbfA=1\n", b"\n")],
)
def test_new_lines_end_as_the_old_ones_do(old: bytes, end: bytes) -> None:
    new = added(old, {"B": "2"})
    assert new.startswith(old) and new.endswith(end + b"B=2" + end)
    assert dotenv.parse(new.decode(), {}).entries["B"].value == "2"


def test_the_file_to_fill_in_has_the_lines_of_the_example() -> None:
    def lines(text: str) -> list[str]:
        return [line.lstrip("#") for line in text.splitlines() if re.match("#?[A-Z]", line)]

    assert lines(template({})) == lines((ROOT / ".env.example").read_text())
    assert dotenv.parse(template({}), {}).entries == {}
    assert all(each.help in template({}) for each in VARIABLES)


# -- git


@pytest.mark.parametrize(
    ("patterns", "is_told"),
    [
        ({}, True),
        ({".gitignore": "*.pyc\n# .env\n"}, True),
        ({".gitignore": ".env\n"}, False),
        ({".gitignore": ".env*\r\n!.env.example\r\n"}, False),
        ({".gitignore": "**/.env\n"}, False),
        ({".gitignore": "/.env\n"}, True),
        ({".gitignore": "/a/b/.env\n"}, False),
        ({".gitignore": "a/\n"}, False),
        ({".gitignore": "a/**\n"}, False),
        ({".gitignore": ".env/\n"}, True),
        ({".gitignore": ".env\n!.env\n"}, True),
        ({".gitignore": ".env\n", "a/.gitignore": "!.env\n"}, True),
        ({"a/b/.gitignore": "*\n"}, False),
        ({".git/info/exclude": ".env\n"}, False),
    ],
)
def test_a_key_that_git_would_take_is_told(tmp_path: Path, patterns: Mapping[str, str], is_told: bool) -> None:
    (tmp_path / ".git" / "info").mkdir(parents=True)
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name, text in patterns.items():
        (tmp_path / name).write_text(text)
    assert is_exposed(tmp_path / "a" / "b" / ".env") == is_told
    if shutil.which("git"):
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        found = subprocess.run(["git", "check-ignore", "-q", ".env"], cwd=tmp_path / "a" / "b")
        assert (found.returncode == 1) == is_told


def test_outside_a_checkout_nothing_is_said_of_git(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ".gitignore" not in without_terminal(capsys, tmp_path)[1]
    (tmp_path / ".git").mkdir()
    assert "add .env to .gitignore" in without_terminal(capsys, tmp_path)[1]
    assert not (tmp_path / ".gitignore").exists()


# -- servers on this machine


def test_servers_that_answer_are_found_also_those_that_want_a_key() -> None:
    with Loopback(answered()) as locked, Loopback(answered(key="")) as free, Loopback([text_stream("hi")] * 9) as other:
        urls = [locked.url, free.url, other.url, "http://127.0.0.1:9/v1"]
        assert answering(urls, 20.0) == {locked.url, free.url}


def test_servers_that_say_nothing_are_not_waited_for() -> None:
    def answer(request: Request, index: int) -> Answer:
        return [60.0]

    with Loopback(answer) as silent, Loopback(answered(key="")) as free:
        assert silent.url not in answering([silent.url, free.url], 0.5)
