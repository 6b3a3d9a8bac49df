"""One file that any Python runs: built from a folder of wheels, started without site-packages."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from agentkit import __version__, pack

from .fullscreen import FullScreen
from .program import ROOT, WAIT, environment
from .serving import serving
from .wheels import wheels

if importlib.util.find_spec("pip") is None:
    pytest.skip("this Python has no pip", allow_module_level=True)

ALONE = ("-I", "-S")  # no environment variables, no site-packages


def build(folder: Path, *arguments: str, python: str = sys.executable, **env: str) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "agentkit", "zipapp", *arguments]
    found = {**environment(folder), **env}
    return subprocess.run(command, cwd=folder, env=found, capture_output=True, text=True, timeout=WAIT * 6)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return wheels(tmp_path_factory.mktemp("index"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, index: Mapping[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("built")
    done = build(folder, **index)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r".*/agentkit\.pyz: \d\.\d MB, for Python 3\.10 and later; python3 agentkit\.pyz .*\n", done.stdout
    )
    return folder / "agentkit.pyz"


def alone(built: Path, folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it as on a bare server."""
    command = [sys.executable, *ALONE, str(built), *arguments]
    found = {**environment(folder), **env}
    return subprocess.run(
        command, cwd=folder, env=found, capture_output=True, text=True, timeout=WAIT * 3, stdin=subprocess.DEVNULL
    )


# -- what is in it


def test_it_holds_the_program_the_sample_and_what_they_need_as_pure_python(built: Path) -> None:
    names = zipfile.ZipFile(built).namelist()
    own = {each for each in names if each.startswith("agentkit/")}
    modules = {str(each.relative_to(ROOT)) for each in (ROOT / "agentkit").rglob("*.py") if "sample" not in each.parts}
    sample = {f"agentkit/sample/{each}" for each in pack.SAMPLE}
    assert own == {*modules, "agentkit/py.typed", *sample}
    assert {each.partition("/")[0] for each in names} >= {"requests", "urllib3", "certifi", "idna", "websockets"}
    assert "certifi/cacert.pem" in names and "requests-" in " ".join(each for each in names if "LICENSE" in each)
    assert not [each for each in names if each.endswith((".so", ".c", ".pyc", "RECORD")) or "__pycache__" in each]
    assert names == sorted(names) and len(names) == len(set(names))


def test_its_lists_are_those_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    found = re.search(r"^dependencies = \[(.*)\]$", project, re.MULTILINE)
    assert found and tuple(re.findall(r'"([^"]+)"', found[1])) == pack.NEEDS
    assert f'requires-python = ">={pack.OLDEST}"' in project
    patterns = re.search(r'^"agentkit\.sample" = \[$(.*?)^\]$', project, re.MULTILINE | re.DOTALL)
    assert patterns
    kept = subprocess.run(["git", "ls-files", "workspace"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    if kept:  # a copy without its history has nothing to compare with
        assert sorted(f"workspace/{each}" for each in pack.SAMPLE) == sorted(kept)


def test_the_same_input_gives_the_same_bytes(built: Path, index: Mapping[str, str], tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        done = build(tmp_path, "-o", "other.pyz", **index, TZ="Asia/Tokyo", PYTHONHASHSEED="7", SOURCE_DATE_EPOCH="1")
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "other.pyz").read_bytes() == built.read_bytes()
    assert os.access(tmp_path / "other.pyz", os.X_OK)


# -- what it does


def test_it_answers_without_site_packages_and_brings_its_workspace_along(built: Path, tmp_path: Path) -> None:
    assert alone(built, tmp_path, "--version").stdout == f"agentkit {__version__}\n"
    answer = alone(built, tmp_path, "run", "hello")
    assert answer.returncode == 0 and "demo model" in answer.stdout, answer.stderr
    assert sorted(str(each.relative_to(tmp_path / "workspace")) for each in tmp_path.rglob("*.md")) == sorted(
        pack.SAMPLE
    )


def test_it_is_a_command_of_its_own(built: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(built), "--version"], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=WAIT
    )
    assert done.stdout == f"agentkit {__version__}\n", done.stderr


def test_it_chats_on_the_full_screen_and_says_how_to_come_back(built: Path, tmp_path: Path) -> None:
    env = environment(tmp_path, TERM="xterm-256color")
    with FullScreen(tmp_path, env=env, program=(*ALONE, str(built))) as screen:
        screen.shows("ready")
        screen.send("hello\r")
        screen.shows("● (.|\n)*ready")
        screen.send("\x04")
        assert screen.wait() == 0
    assert f"python3 {built} --session" in screen.screen


def test_it_serves_and_is_asked_how_it_stands(built: Path, tmp_path: Path) -> None:
    with serving(tmp_path, environment(tmp_path), program=(*ALONE, str(built))) as server:
        assert "reply" in str(server.ask("send", text="hello"))
        found = alone(built, tmp_path, "status", GATEWAY_PORT=server.port)
        assert found.returncode == 0 and __version__ in found.stdout, found.stderr


def test_called_from_such_a_file_it_copies_itself(built: Path, tmp_path: Path) -> None:
    done = alone(built, tmp_path, "zipapp", "-o", "copy.pyz")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy.pyz").read_bytes() == built.read_bytes()


def test_an_older_python_is_told_so_in_a_line() -> None:
    ast.parse(pack.MAIN, feature_version=(3, 4))
    code = f"import sys; sys.version_info = (3, 9, 1); exec({pack.MAIN!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 1
    assert done.stderr == "agentkit needs Python 3.10 or later, this is 3.9: start it with another one.\n"


# -- what goes wrong


@pytest.mark.parametrize(
    ("target", "said"),
    [("", "is a folder"), ("nowhere/agentkit.pyz", "No such file or directory"), ("file/x.pyz", "Not a directory")],
)
def test_a_place_that_cannot_be_written_to_is_named(built: Path, tmp_path: Path, target: str, said: str) -> None:
    (tmp_path / "file").write_text("kept")
    done = alone(built, tmp_path, "zipapp", "-o", str(tmp_path / target))
    assert done.returncode == 1 and said in done.stderr and "-o" in done.stderr
    assert done.stderr.count("\n") == 1 and (tmp_path / "file").read_text() == "kept"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_packages_that_cannot_be_had_leave_the_older_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "agentkit.pyz").write_bytes(b"older")
    (tmp_path / "empty").mkdir()
    done = build(tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "empty"))
    assert done.returncode == 1 and done.stdout == ""
    assert "agentkit.pyz was not built: No matching distribution found for requests" in done.stderr
    assert "proxy" in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / "agentkit.pyz").read_bytes() == b"older"


def test_a_python_without_pip_says_how_to_get_it(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    done = build(tmp_path, python=str(tmp_path / "bare" / "bin" / "python"))
    assert done.returncode == 1 and "has no pip" in done.stderr and "ensurepip" in done.stderr
