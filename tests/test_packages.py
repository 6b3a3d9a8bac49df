"""What a wheel and an sdist carry: the program and the sample workspace, whole, and nothing that was said in a chat."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from agentkit import __version__, pack

from .program import ROOT, WAIT, agentkit, environment

if importlib.util.find_spec("setuptools") is None or int(metadata.version("setuptools").split(".")[0]) < 77:
    pytest.skip("setuptools is older than 77, or not there", allow_module_level=True)

BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, f"build_{sys.argv[1]}")(sys.argv[2]), file=sys.stderr)
"""
LEFT_BEHIND = (
    ".git",
    ".venv",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    ".env",
    "bench.json",
)
SAID = "nobody else may read this"


def build(kind: str, tree: Path, target: Path) -> Path:
    target.mkdir()
    command = [sys.executable, "-c", BUILD, kind, str(target)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=WAIT * 6)
    assert done.returncode == 0, done.stderr
    return target / done.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One in which somebody has chatted, remembered, and made an agent of their own."""
    tree = tmp_path_factory.mktemp("checkout") / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    done = agentkit(tree, "run", SAID, env=environment(tree))
    assert done.returncode == 0, done.stderr
    agents = tree / "workspace" / ".agents"
    (agents / "assistant" / "memory" / "secret.md").write_text(SAID)
    (agents / "mine" / "skills" / "x").mkdir(parents=True)
    (agents / "mine" / "AGENT.md").write_text(SAID)
    (agents / "mine" / "skills" / "x" / "SKILL.md").write_text(SAID)
    (tree / "workspace" / "CRON.json").write_text(f'{{"jobs": ["{SAID}"]}}')
    (tree / ".env").write_text(f"LLM_API_KEY={SAID}")
    assert list((tree / "workspace" / "sessions").rglob("*.jsonl"))
    return tree


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    return build("wheel", checkout, checkout.parent / "wheel")


@pytest.fixture(scope="module")
def sdist(checkout: Path) -> Path:
    return build("sdist", checkout, checkout.parent / "sdist")


def modules() -> set[str]:
    return {str(each.relative_to(ROOT)) for each in (ROOT / "agentkit").rglob("*.py") if "sample" not in each.parts}


def test_a_wheel_carries_the_modules_the_sample_and_nothing_else(wheel: Path) -> None:
    info = f"agentkit-{__version__}.dist-info"
    about = {f"{info}/{each}" for each in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt")}
    sample = {f"agentkit/sample/{each}" for each in pack.SAMPLE}
    names = zipfile.ZipFile(wheel).namelist()
    assert set(names) == {*modules(), "agentkit/py.typed", *sample, *about, f"{info}/licenses/LICENSE"}
    assert wheel.name == f"agentkit-{__version__}-py3-none-any.whl"


def test_an_sdist_carries_what_it_takes_to_build_and_no_chat(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        found = {each.name.partition("/")[2]: each for each in archive.getmembers() if each.isfile()}
        texts = [file.read() for each in found.values() if (file := archive.extractfile(each))]
    about = {f"agentkit.egg-info/{each}.txt" for each in ("SOURCES", "dependency_links", "entry_points", "requires")}
    about |= {"agentkit.egg-info/PKG-INFO", "agentkit.egg-info/top_level.txt", "PKG-INFO", "setup.cfg"}
    tests = {str(each.relative_to(ROOT)) for each in (ROOT / "tests").glob("test*.py")}
    sample = {f"workspace/{each}" for each in pack.SAMPLE}
    top = {"README.md", "LICENSE", "pyproject.toml"}
    assert set(found) == {*modules(), "agentkit/py.typed", *sample, *tests, *about, *top}
    this = (ROOT / "tests" / "test_packages.py").read_bytes()
    assert not [each for each in texts if SAID.encode() in each and each != this]


def test_a_wheel_of_the_sdist_is_the_wheel_of_the_checkout(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        if sys.version_info >= (3, 12):
            archive.extractall(tmp_path, filter="data")
        else:
            archive.extractall(tmp_path)
    other = build("wheel", tmp_path / f"agentkit-{__version__}", tmp_path / "wheel")

    def held(path: Path) -> dict[str, bytes]:
        with zipfile.ZipFile(path) as found:
            return {each: found.read(each) for each in found.namelist() if not each.endswith("RECORD")}

    assert held(other) == held(wheel)


def test_a_wheel_says_what_it_needs_and_on_which_pythons(wheel: Path) -> None:
    said = zipfile.ZipFile(wheel).read(f"agentkit-{__version__}.dist-info/METADATA").decode()
    needs = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("Requires-Dist: ")]
    core = {each.split(";")[0].strip() for each in needs if "extra ==" not in each}
    assert {"".join(sorted(each)) for each in core} == {"".join(sorted(each)) for each in pack.NEEDS}
    assert "Requires-Python: >=3.10" in said and "Provides-Extra: discord" in said
    assert [each for each in needs if each.startswith("discord")]


def test_what_is_installed_runs_as_a_command_and_brings_the_sample(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as found:
        found.extractall(tmp_path / "site")
    here = tmp_path / "here"
    here.mkdir()
    done = agentkit(here, "run", "hello", env=environment(here, PYTHONPATH=str(tmp_path / "site")))
    assert done.returncode == 0, done.stderr
    assert sorted(str(each.relative_to(here / "workspace")) for each in here.rglob("*.md")) == sorted(pack.SAMPLE)
