"""glob and grep, called as a turn calls them, in real folders and with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agentkit.cancel import Cancel
from agentkit.errors import Cancelled, PathRefused, ToolError
from agentkit.toolbox import Scope
from agentkit.tools.matching import TooSlow, finder
from agentkit.tools.search import glob, grep

FILES = {
    "README.md": "# Title\nfoo.bar here\n",
    "src/main.py": "import os\ndef main():\n    return 1\n",
    "src/app/deep/view.py": "class View:\n    pass  # foo.bar\n",
    "src/app/view.js": "const view = 1\r\nfoo(bar)\r\n",
    "src/app.txt": "between\n",
    ".agents/a/SKILL.md": "skill\n",
    "node_modules/x/index.js": "foo.bar\n",
    ".git/config": "foo.bar\n",
    ".env": "KEY=foo.bar\n",
    ".env.example": "KEY=\n",
    ".state/token": "foo.bar\n",
    "settings.conf": "foo.bar\n",
}


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    base = Path(os.path.realpath(tmp_path))
    cwd, ws = base / "cwd", base / "ws"
    for name, text in FILES.items():
        (cwd / name).parent.mkdir(parents=True, exist_ok=True)
        (cwd / name).write_bytes(text.encode())
    (ws / "sessions").mkdir(parents=True)
    (ws / "note.md").write_text("foo.bar\n")
    (base / "outside").mkdir()
    (base / "outside" / "secret.md").write_text("foo.bar SECRET\n")
    os.symlink("../../outside", cwd / "src" / "away")
    os.symlink("../../outside/secret.md", cwd / "src" / "away.md")
    os.symlink("app", cwd / "src" / "alias")
    os.link(cwd / "settings.conf", cwd / "src" / "hard.conf")
    return Scope((cwd, ws), closed=(cwd / "settings.conf",), environment={"PATH": os.environ["PATH"]})


# -- names


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("*.md", ".", ["README.md"]),
        ("**/*.md", ".", [".agents/a/SKILL.md", "README.md", "src/away.md"]),
        ("**/*.py", ".", ["src/app/deep/view.py", "src/main.py"]),
        ("src/**/*.py", ".", ["src/app/deep/view.py", "src/main.py"]),
        ("./src//*.py", ".", ["src/main.py"]),
        ("*.py", "src", ["src/main.py"]),
        ("src/main.py", ".", ["src/main.py"]),
        (
            "src/*",
            ".",
            ["src/alias", "src/app.txt", "src/app/", "src/away", "src/away.md", "src/hard.conf", "src/main.py"],
        ),
        ("src/*/", ".", ["src/app/"]),
        ("src/app/**", ".", ["src/app/deep/", "src/app/deep/view.py", "src/app/view.js"]),
        ("**/deep/**/*.py", ".", ["src/app/deep/view.py"]),
        ("**/**/**/view.*", ".", ["src/app/deep/view.py", "src/app/view.js"]),
        ("**/view.{js,p?}", ".", ["src/app/deep/view.py", "src/app/view.js"]),
        ("{src/app/*,.agents/{a,b}/*.md,missing/*}", ".", [".agents/a/SKILL.md", "src/app/deep/", "src/app/view.js"]),
        ("[R-S]*", ".", ["README.md"]),
        ("[!R]*.md", ".", []),
        ("src/alias/*.js", ".", ["src/app/view.js"]),
        (".e*", ".", [".env.example"]),
        ("node_modules/**/*.js", ".", ["node_modules/x/index.js"]),
        ("**/.git/*", ".", [".git/config"]),
        ("*.js", "node_modules/x", ["node_modules/x/index.js"]),
        ("*.MD", ".", []),
        ("missing/**", ".", []),
        ("README.md/*", ".", []),
    ],
)
def test_names_are_found(scope: Scope, pattern: str, path: str, found: list[str]) -> None:
    assert glob(pattern, path, scope=scope).split("\n") == (found or [f"nothing matches {pattern}"])


def test_other_folders_are_named_in_full(scope: Scope) -> None:
    ws = scope.roots[1]
    for pattern, path in (("*.md", str(ws)), (f"{ws}/*.md", "."), (f"{ws}/*.md", "src"), ("../ws/*.md", ".")):
        assert glob(pattern, path, scope=scope) == f"{ws}/note.md"


@pytest.mark.parametrize(
    "pattern", ["../*", "../outside/*.md", "/*", "/etc/*", "~/*", "src/../../*", "..", "src/away/*"]
)
def test_a_pattern_does_not_lead_out(scope: Scope, pattern: str) -> None:
    with pytest.raises(PathRefused):
        glob(pattern, scope=scope)


@pytest.mark.parametrize("pattern", [".state/*", ".env/*", "src/../.state/**"])
def test_a_pattern_does_not_lead_into_what_is_closed(scope: Scope, pattern: str) -> None:
    with pytest.raises(PathRefused):
        glob(pattern, scope=scope)


@pytest.mark.parametrize(
    ("pattern", "path", "said"),
    [
        ("", ".", "the pattern is empty"),
        ("*/../../*", ".", r"\.\. cannot come after a wildcard"),
        ("*", "missing", "there is no file or folder missing"),
        ("*", "README.md", "a part of this path is a file"),
        ("{a,b}" * 10, ".", "more than 64 patterns"),
    ],
)
def test_a_pattern_that_cannot_be_followed_is_explained(scope: Scope, pattern: str, path: str, said: str) -> None:
    with pytest.raises(ToolError, match=said):
        glob(pattern, path, scope=scope)


def test_odd_patterns_find_nothing_or_something_and_end(scope: Scope) -> None:
    (scope.cwd / ("a" * 250)).touch()
    for pattern in (
        "*a" * 100 + "b",
        "**/" * 500 + "x",
        "[",
        "[]",
        "[!]",
        "{",
        "{a",
        "a}",
        "{}",
        "{,}",
        "\\",
        "***",
        "a\0b*",
    ):
        assert glob(pattern, scope=scope)


def test_names_cannot_pretend_to_be_several(scope: Scope) -> None:
    (scope.cwd / "src" / "x\n.env\x1b[2J.py").touch()
    assert glob("src/x*", scope=scope) == "src/x\ufffd.env.py"


def test_of_many_names_the_first_are_told(scope: Scope) -> None:
    (scope.cwd / "many").mkdir()
    for number in range(1100):
        (scope.cwd / "many" / f"{number:04}").touch()
    lines = glob("many/*", scope=scope).split("\n")
    assert lines[0] == "many/0000" and lines[999] == "many/0999"
    assert lines[1000:] == ["[only the first 1000 names: narrow the pattern]"]


# -- text


@pytest.mark.parametrize(
    ("pattern", "path", "include", "ignore_case", "found"),
    [
        ("main", ".", "", False, ["src/main.py:2: def main():"]),
        ("MAIN", ".", "", True, ["src/main.py:2: def main():"]),
        (r"foo\.bar", ".", "", False, ["README.md:2: foo.bar here", "src/app/deep/view.py:2:     pass  # foo.bar"]),
        ("foo.bar", ".", "*.md", False, ["README.md:2: foo.bar here"]),
        ("FOO.", ".", "*.{js,md}", True, ["README.md:2: foo.bar here", "src/app/view.js:2: foo(bar)"]),
        (r"\)$", ".", "", False, ["src/app/view.js:2: foo(bar)"]),
        ("^class", "src", "deep/*.py", False, ["src/app/deep/view.py:1: class View:"]),
        ("class", "src/app/deep/view.py", "", False, ["src/app/deep/view.py:1: class View:"]),
        ("class", "src/alias/deep", "", False, ["src/app/deep/view.py:1: class View:"]),
        ("foo", "node_modules", "", False, ["node_modules/x/index.js:1: foo.bar"]),
        ("KEY", ".", "", False, [".env.example:1: KEY="]),
        ("SECRET", ".", "", False, []),
        ("^$", ".", "", False, []),
        ("skill", ".", "*.md", False, [".agents/a/SKILL.md:1: skill"]),
    ],
)
def test_lines_are_found(
    scope: Scope, pattern: str, path: str, include: str, ignore_case: bool, found: list[str]
) -> None:
    expected = "\n".join(found) or f"no line matches {pattern}"
    assert grep(pattern, path, include, ignore_case, scope=scope) == expected


@pytest.mark.parametrize("pattern", ["foo.bar", "bar"])
def test_other_folders_lines_are_named_in_full(scope: Scope, pattern: str) -> None:
    assert grep(pattern, "../ws", scope=scope) == f"{scope.roots[1]}/note.md:1: foo.bar"


@pytest.mark.parametrize("pattern", ["ü", "ü|ß"])
def test_bytes_that_are_no_text_are_passed_over(scope: Scope, pattern: str) -> None:
    (scope.cwd / "latin.txt").write_bytes(b"caf\xe9\r\n\xef\xbf\xbd \xc3\xbc\n")
    (scope.cwd / "bom.txt").write_bytes(b"\xef\xbb\xbf\xc3\xbc")
    (scope.cwd / "some.bin").write_bytes(b"\xc3\xbc\0")
    with open(scope.cwd / "large.txt", "wb") as file:
        file.truncate(1 << 40)
    (scope.cwd / "empty").touch()
    os.mkfifo(scope.cwd / "fifo")
    assert grep(pattern, scope=scope).split("\n") == [
        "bom.txt:1: ü",
        "latin.txt:2: \ufffd ü",
        "[not searched: 1 binary, 1 larger than 5.0 MB]",
    ]
    assert grep(pattern, "large.txt", scope=scope).endswith("[not searched: 1 larger than 20 MB]")


@pytest.mark.parametrize("pattern", ["needle", "need.e"])
def test_of_a_long_line_what_is_around_the_match_is_shown(scope: Scope, pattern: str) -> None:
    (scope.cwd / "long.js").write_text("x" * 100_000 + "needle" + "y" * 100_000)
    assert grep(pattern, scope=scope) == f"long.js:1: ...{'x' * 100}needle{'y' * 194}..."


@pytest.mark.parametrize("pattern", ["word", "wor[d]"])
def test_of_many_matches_the_first_are_told(scope: Scope, pattern: str) -> None:
    (scope.cwd / "many.txt").write_text("word\n" * 1000)
    lines = grep(pattern, scope=scope).split("\n")
    assert len(lines) == 201
    assert lines[199:] == ["many.txt:200: word", "[only the first 200 matches: narrow the pattern or the path]"]
    (scope.cwd / "many.txt").write_text("word" * 100 + "\n" + "word" * 100_000)
    assert len(grep(pattern, scope=scope)) < 1000


@pytest.mark.parametrize(
    ("pattern", "path", "said"),
    [
        ("", ".", "the pattern is empty"),
        ("a(b", ".", r"no regular expression: missing \), unterminated subpattern at position 1 \(put \\ before"),
        ("*", ".", "nothing to repeat"),
        ("a\nb", ".", "line break"),
        ("x{99999999999999999999}", ".", "no regular expression: "),
        ("(" * 5000 + ")" * 5000, ".", "no regular expression: "),
        ("x", "missing", "there is no file or folder missing"),
    ],
)
def test_a_search_that_cannot_be_made_is_explained(scope: Scope, pattern: str, path: str, said: str) -> None:
    with pytest.raises(ToolError, match=said):
        grep(pattern, path, scope=scope)


@pytest.mark.parametrize(
    "path", ["..", "../outside", "src/away", "src/away.md", "/etc", "~", ".env", ".state", "src/hard.conf"]
)
def test_no_line_of_the_outside_or_of_what_is_closed_is_found(scope: Scope, path: str) -> None:
    for pattern in ("foo", "f.o"):
        with pytest.raises(PathRefused):
            grep(pattern, path, scope=scope)


def test_a_closed_file_by_another_name_is_passed_over(scope: Scope) -> None:
    assert "hard.conf" not in grep("foo.bar", scope=scope) + grep("foo", scope=scope)


# -- patterns that never end


def processes_of(parent: int) -> set[int]:
    with subprocess.Popen(["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True) as ps:
        rows = [tuple(map(int, line.split())) for line in ps.communicate()[0].splitlines()]
    return {pid for pid, above in rows if above == parent and pid != ps.pid}


@pytest.fixture
def endless(scope: Scope) -> Scope:
    (scope.cwd / "a.txt").write_text("a needle\n")
    (scope.cwd / "b.txt").write_text("a" * 60 + "b\n")
    return scope


def test_an_endless_search_is_cancelled_and_leaves_no_process(endless: Scope) -> None:
    before = processes_of(os.getpid())
    cancel, ended = Cancel(), threading.Event()

    def search() -> None:
        with pytest.raises(Cancelled):
            grep("(a+)+$", scope=Scope(endless.roots, environment=endless.environment, cancel=cancel))
        ended.set()

    thread = threading.Thread(target=search)
    thread.start()
    while not processes_of(os.getpid()) - before:
        assert thread.is_alive()
    # This thread still runs, although a pattern of this kind would hold up everything in this process.
    cancel.set()
    assert ended.wait(30)
    thread.join()
    assert processes_of(os.getpid()) <= before


def test_an_endless_search_ends_by_itself(scope: Scope) -> None:
    before = processes_of(os.getpid())
    with finder("(a+)+$", False, 10, 0.3, scope) as find:
        with pytest.raises(TooSlow):
            find("a" * 60 + "b")
        with pytest.raises(TooSlow):
            find("a")
    assert processes_of(os.getpid()) <= before


def test_a_process_that_ends_in_between_is_no_reason_to_wait(scope: Scope) -> None:
    before = processes_of(os.getpid())
    with finder("a.c", False, 10, 60, scope) as find:
        assert find("abc\nx\nadc") == [[1, 0], [3, 0]]
        (child,) = processes_of(os.getpid()) - before
        os.kill(child, signal.SIGKILL)
        with pytest.raises(ToolError, match="simpler pattern"):
            find("a" * 10_000_000)


def test_a_search_that_is_cancelled_before_it_begins_does_not_begin(scope: Scope) -> None:
    cancel = Cancel()
    cancel.set()
    stopped = Scope(scope.roots, environment=scope.environment, cancel=cancel)
    calls: tuple[Callable[[], str], ...] = (
        lambda: grep("foo", scope=stopped),
        lambda: grep("f.o", scope=stopped),
        lambda: glob("**", scope=stopped),
    )
    for call in calls:
        with pytest.raises(Cancelled):
            call()


def test_searches_side_by_side_do_not_disturb_each_other(scope: Scope) -> None:
    (scope.cwd / "big.txt").write_text("".join(f"line {number}\n" for number in range(100_000)))
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda each=each: results.append(grep(f"^line {each}$", scope=scope)))
        for each in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [f"big.txt:{each + 1}: line {each}" for each in range(6)]


def test_the_environment_of_the_search_is_the_scopes(scope: Scope) -> None:
    bare = Scope(scope.roots)
    assert grep("^# T", scope=bare) == "README.md:1: # Title"


def test_it_works_from_a_zip_file(scope: Scope, tmp_path: Path) -> None:
    package = Path(__file__).parent.parent / "agentkit"
    archive = tmp_path / "agentkit.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        for module in package.rglob("*.py"):
            file.write(module, module.relative_to(package.parent))
    code = (
        f"import sys; sys.path.insert(0, {str(archive)!r}); sys.path.remove('') if '' in sys.path else None\n"
        "from pathlib import Path\nfrom agentkit.toolbox import Scope\nfrom agentkit.tools.search import grep\n"
        f"import agentkit; assert {str(archive)!r} in agentkit.__file__\n"
        f"print(grep('^# T', scope=Scope((Path({str(scope.cwd)!r}),))))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "README.md:1: # Title\n", done.stderr


def test_links_that_are_swapped_during_a_search_lead_nowhere(scope: Scope) -> None:
    for number in range(20):
        (scope.cwd / "turn" / f"{number}").mkdir(parents=True)
        (scope.cwd / "turn" / f"{number}" / "secret.md").write_text("fine\n")
    os.symlink("../outside", scope.cwd / "spare")
    stop, begun = threading.Event(), threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for number in range(20):
                place, kept = scope.cwd / "turn" / f"{number}", scope.cwd / "kept"
                os.rename(place, kept)
                os.symlink("../../outside", place)
                os.unlink(place)
                os.rename(kept, place)
            begun.set()

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        assert begun.wait(30)
        for _ in range(20):
            assert grep("SE.RET", "turn", scope=scope).startswith("no line matches SE.RET")
            assert grep("SECRET", "turn", scope=scope).startswith("no line matches SECRET")
            assert "outside" not in glob("turn/**", scope=scope)
    finally:
        stop.set()
        thread.join()
