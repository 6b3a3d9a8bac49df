"""Imports point down the ladder: a module imports only from rungs below its own; siblings in a folder have no cycle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "agentkit"

LADDER = """
 0  __init__ errors folding records cronexpr mention arguments invocation firstborn supervisor heap
 1  cancel events printable dotenv values names frontmatter atomic jsonl pieces signature rpcmessage entries
 1  schedule clock
 2  files watch agentfiles envelope node calls thinking demo/ diagnosis/ lanes log exchange adapter ledger rpc
 2  rota cronline userfile wanted job silence beats surroundings completion dialogue gitignore pack eventstream
 3  command settings store workspace toolbox letters destinations channel newcomer sharedfile bindings jobs repeats runs
 3  fetch
 4  pulse reckoning wire approval prompt tools/ past fit profiles routes delivery awaited envfile
 5  leftovers dialects usetool conversation summary outbox pigeonhole aside attach scripted
 6  standings client compact archive staff paths
 7  llm turn tries chronicle contacts probe
 8  session failover plans servers
 9  history agents memory skills routing desk background remarks backend interview
10  sessions unattended init
11  heartbeat errand
12  cron
13  beside
14  housekeeping mail timetable status
15  methods
16  channels/
17  gates inquiry checks/
18  app doctor
19  reload
20  serve
21  __main__
"""

RUNG = {name: int(line.split()[0]) for line in LADDER.strip().splitlines() for name in line.split()[1:]}


def place(path: Path, package: Path) -> str:
    """What the ladder calls the module at `path`: its name, or its folder's."""
    parts = path.relative_to(package).with_suffix("").parts
    return f"{parts[0]}/" if len(parts) > 1 else parts[0]


def imports(path: Path, package: Path) -> Iterator[Path]:
    """The files of the package that a file imports, TYPE_CHECKING and imports inside functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [each.name.split(".")[1:] for each in node.names if each.name.split(".")[0] == "agentkit"]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                start = path.parent.relative_to(package).parts
                base = [*start[: len(start) - node.level + 1], *(node.module or "").split(".")]
            elif (node.module or "").split(".")[0] == "agentkit":
                base = (node.module or "").split(".")[1:]
            else:
                continue
            base = [part for part in base if part]
            targets = [[*base, each.name] for each in node.names]
        else:
            continue
        for target in targets:
            yield resolve(target, package)


def resolve(target: list[str], package: Path) -> Path:
    """The file that holds a dotted name: the longest prefix that is a module."""
    for size in range(len(target), -1, -1):
        path = package.joinpath(*target[:size])
        if size and path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
        if (path / "__init__.py").is_file():
            return path / "__init__.py"
    raise AssertionError(f"agentkit.{'.'.join(target)} is no module")


def faults(package: Path) -> list[str]:
    """Each import that points up or sideways, and each cycle between siblings, as a line."""
    found = []
    beside: dict[Path, set[Path]] = {}
    for path in sorted(package.rglob("*.py")):
        here = place(path, package)
        if here not in RUNG:
            found.append(f"{here} has no place on the ladder")
            continue
        if here == "__init__":
            continue  # it names the public things, loaded on first use
        for target in imports(path, package):
            there = place(target, package)
            if here == there and here.endswith("/"):
                beside.setdefault(path, set()).add(target)
            elif RUNG.get(there, 99) >= RUNG[here]:
                found.append(f"{here} imports {there}")
    return found + [
        f"{path.name} imports itself through its siblings" for path in beside if reaches(path, path, beside)
    ]


def reaches(start: Path, goal: Path, graph: dict[Path, set[Path]]) -> bool:
    seen: set[Path] = set()
    ahead = list(graph.get(start, ()))
    while ahead:
        if (here := ahead.pop()) == goal:
            return True
        if here not in seen:
            seen.add(here)
            ahead += graph.get(here, ())
    return False


def test_every_import_points_down_the_ladder() -> None:
    assert faults(PACKAGE) == []


def test_every_name_on_the_ladder_exists() -> None:
    assert {place(path, PACKAGE) for path in PACKAGE.rglob("*.py")} == set(RUNG)


def test_an_import_that_points_up_is_found(tmp_path: Path) -> None:
    write(tmp_path, "errors.py", "def late():\n    from .app import App\n")
    write(tmp_path, "app.py", "")
    assert faults(tmp_path) == ["errors imports app"]


def test_an_import_for_type_checking_counts(tmp_path: Path) -> None:
    write(tmp_path, "node.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import agentkit.store\n")
    write(tmp_path, "store.py", "")
    assert faults(tmp_path) == ["node imports store"]


def test_a_cycle_between_siblings_is_found(tmp_path: Path) -> None:
    write(tmp_path, "tools/a.py", "from . import b\n")
    write(tmp_path, "tools/b.py", "from .a import x\n")
    assert faults(tmp_path) == [
        "a.py imports itself through its siblings",
        "b.py imports itself through its siblings",
    ]


def test_a_module_without_a_place_is_found(tmp_path: Path) -> None:
    write(tmp_path, "utils.py", "")
    assert faults(tmp_path) == ["utils has no place on the ladder"]


def write(package: Path, name: str, text: str) -> None:
    (package / "__init__.py").touch()
    path = package / name
    path.parent.mkdir(exist_ok=True)
    (path.parent / "__init__.py").touch()
    path.write_text(text)


def test_every_folder_of_modules_is_a_package() -> None:
    """Without its __init__.py one is not found inside a zip file."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [each for each in folders if not (each / "__init__.py").is_file()] == []
