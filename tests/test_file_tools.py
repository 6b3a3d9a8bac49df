"""read_file, write_file, edit_file and list_dir, called as a turn calls them, in real folders."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.cancel import Cancel
from agentkit.errors import Cancelled, PathRefused, ToolError
from agentkit.toolbox import Scope, Tool
from agentkit.tools.edits import diff, replaced
from agentkit.tools.files import edit_file, list_dir, preview_edit, preview_write, read_file, write_file
from agentkit.tools.search import glob, grep

SECRET = "what nobody may read"


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    base = Path(os.path.realpath(tmp_path))
    cwd, ws = base / "cwd", base / "ws"
    (cwd / "src").mkdir(parents=True)
    (ws / "sessions").mkdir(parents=True)
    return Scope((cwd, ws), closed=(ws / ".state", cwd / "settings.conf"), unwritable=(ws / "sessions",))


def failure(tool: Tool, *args: object, scope: Scope, **more: object) -> str:
    with pytest.raises(ToolError) as failed:
        tool(*args, scope=scope, **more)
    return str(failed.value)


# -- reading


def test_lines_come_with_their_numbers(scope: Scope) -> None:
    (scope.cwd / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n\nf\xffour")
    assert read_file("a.txt", scope=scope) == "1\tone\n2\ttwo\n3\t\n4\tf\ufffdour"
    assert read_file("a.txt", 2, 1, scope=scope) == "2\ttwo\n[more: offset=3; the file has 18 B]"
    assert read_file("a.txt", 4, scope=scope) == "4\tf\ufffdour"
    assert read_file("a.txt", 0, -1, scope=scope) == "1\tone\n[more: offset=2; the file has 18 B]"


@pytest.mark.parametrize(
    ("data", "offset", "said"),
    [
        (b"", 1, "a.txt is empty"),
        (b"\xef\xbb\xbf", 1, "a.txt is empty"),
        (b"", 9, "a.txt is empty"),
        (b"one\ntwo\n", 3, "a.txt has 2 lines: offset 3 is past its end"),
        (b"one\ntwo", 3, "a.txt has 2 lines: offset 3 is past its end"),
        (b"one\ntwo", 10**30, f"a.txt has 2 lines: offset {10**30} is past its end"),
    ],
)
def test_where_there_is_nothing_to_read_it_says_why(scope: Scope, data: bytes, offset: int, said: str) -> None:
    (scope.cwd / "a.txt").write_bytes(data)
    assert read_file("a.txt", offset, scope=scope) == said


def test_reading_on_where_the_last_part_ended_gives_the_whole_file(scope: Scope) -> None:
    lines = [f"line {number} " + "x" * (number % 500) for number in range(3000)]
    (scope.cwd / "a.txt").write_text("\n".join(lines))
    seen: list[str] = []
    offset = 1
    while offset:
        part = read_file("a.txt", offset, scope=scope)
        assert len(part) <= 30_100
        *shown, last = part.split("\n")
        offset = int(last.split("offset=")[1].split(";")[0]) if last.startswith("[more") else 0
        seen += [line.split("\t")[1] for line in (shown if offset else [*shown, last])]
    assert seen == lines


def test_a_line_without_end_is_cut_and_the_next_one_is_found(scope: Scope) -> None:
    (scope.cwd / "a.txt").write_text("é" * 500_000 + "\nshort\n" + "y" * 2001 + "\n")
    first, second, third = read_file("a.txt", scope=scope).split("\n")
    assert first == "1\t" + "é" * 2000 + " ... [cut: this line is longer]"
    assert second == "2\tshort"
    assert third == "3\t" + "y" * 2000 + " ... [cut: this line is longer]"


def test_a_huge_file_is_read_no_further_than_it_is_shown(scope: Scope) -> None:
    with open(scope.cwd / "sparse.log", "wb") as file:
        file.write(b"a line of text\n" * 10_000)
        file.truncate(1 << 40)
    assert read_file("sparse.log", scope=scope).endswith("the file has 1.1 TB]")
    assert "more than 268 MB into the file: take a program like sed" in failure(
        read_file, "sparse.log", 10**9, scope=scope
    )


def test_a_line_of_terabytes_is_given_up(scope: Scope) -> None:
    with open(scope.cwd / "one.txt", "wb") as file:
        file.write(b"x" * 10_000)
        file.truncate(1 << 40)
    assert read_file("one.txt", scope=scope).endswith(
        "xxx ... [cut: this line is longer than 67 MB, what follows is not shown]"
    )


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x7fELF\0\0", "a binary file (6 B)"),
        (bytes(range(128, 256)) * 100, "a binary file (13 KB)"),
        ("text".encode("utf-16"), "UTF-16 text (10 B)"),
    ],
)
def test_what_is_no_text_is_not_shown(scope: Scope, data: bytes, kind: str) -> None:
    (scope.cwd / "a.bin").write_bytes(data)
    assert failure(read_file, "a.bin", scope=scope).startswith(f"a.bin is {kind}, not UTF-8 text")


def test_what_is_missing_is_told_with_what_there_is_instead(scope: Scope) -> None:
    for name in ("readme.md", "src/main.py", ".env", "settings.conf"):
        (scope.cwd / name).touch()
    assert failure(read_file, "raedme.md", scope=scope) == (
        "there is no raedme.md; in its folder there are: readme.md, ..."
    )
    assert failure(read_file, "qqq", scope=scope) == "there is no qqq; in its folder there are: readme.md, src"
    assert failure(read_file, "src/mian.py", scope=scope).endswith("in its folder there are: main.py")
    assert failure(read_file, "lib/main.py", scope=scope) == "there is no lib/main.py, nor a folder lib"
    assert "is a folder: see what is in it with list_dir" in failure(read_file, "src", scope=scope)
    assert "a part of this path is a file" in failure(read_file, "readme.md/x", scope=scope)
    assert failure(list_dir, "srd", scope=scope).endswith("in its folder there are: src, ...")
    assert failure(edit_file, "src/mian.py", "a", "b", scope=scope).endswith("there are: main.py")


def test_an_interrupted_read_ends(scope: Scope) -> None:
    with open(scope.cwd / "a.txt", "wb") as file:
        file.write(b"x" * 10_000)
        file.truncate(1 << 30)
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        read_file("a.txt", 5, scope=Scope(scope.roots, cancel=cancel))


# -- writing


def test_a_file_is_written_with_its_folders(scope: Scope) -> None:
    assert write_file("a/b/c.txt", "one\ntwo", scope=scope) == "wrote 2 lines to a/b/c.txt (new)"
    assert (scope.cwd / "a/b/c.txt").read_text() == "one\ntwo"
    (scope.cwd / "a/b/c.txt").chmod(0o755)
    assert write_file("a/b/c.txt", "one\n", scope=scope) == "wrote 1 line to a/b/c.txt (replaced)"
    assert stat.S_IMODE((scope.cwd / "a/b/c.txt").stat().st_mode) == 0o755
    assert write_file("empty", "", scope=scope) == "wrote 0 lines to empty (new)"
    assert write_file("odd.txt", "lone \ud800 half\r\n", scope=scope) == "wrote 1 line to odd.txt (new)"
    assert (scope.cwd / "odd.txt").read_bytes() == b"lone ? half\r\n"


def test_what_cannot_be_written_is_told_in_words(scope: Scope) -> None:
    (scope.cwd / "file").touch()
    os.mkfifo(scope.cwd / "fifo")
    for tool, args in ((write_file, ("x",)), (edit_file, ("x", "y"))):
        assert "is a folder" in failure(tool, "src", *args, scope=scope)
        assert "a part of this path is a file" in failure(tool, "file/x", *args, scope=scope)
        assert "is not a regular file" in failure(tool, "fifo", *args, scope=scope)
        assert "this name is too long" in failure(tool, "x" * 300, *args, scope=scope)


def test_a_full_disk_is_told_and_the_old_file_stays(scope: Scope) -> None:
    (scope.cwd / "a.txt").write_text("old")
    code = f"""
import resource
from pathlib import Path
from agentkit.errors import ToolError
from agentkit.toolbox import Scope
from agentkit.tools.files import edit_file, write_file
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
scope = Scope((Path({str(scope.cwd)!r}),))
for attempt in (
    lambda: write_file("a.txt", "x" * 5000, scope=scope), lambda: edit_file("a.txt", "old", "x" * 5000, scope=scope)
):
    try:
        attempt()
    except ToolError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "a.txt was not written: it is larger than files may be here\n" * 2
    assert (scope.cwd / "a.txt").read_text() == "old"
    assert sorted(os.listdir(scope.cwd)) == ["a.txt", "src"]


# -- editing


@pytest.mark.parametrize(
    ("before", "old", "new", "after", "said"),
    [
        (b"one\ntwo\n", "two", "2", b"one\n2\n", "line 2"),
        (b"one\r\ntwo\r\n", "one\ntwo", "1\n1.5\n2", b"1\r\n1.5\r\n2\r\n", "lines 1-3"),
        (b"one\r\ntwo\r\n", "one\r\ntwo", "1\r\n2", b"1\r\n2\r\n", "lines 1-2"),
        (b"one\r\ntwo\r\n", "two", "2\n3", b"one\r\n2\r\n3\r\n", "lines 2-3"),
        (b"one\r\ntwo", "two", "2\n3", b"one\r\n2\r\n3", "lines 2-3"),
        (b"one\r\ntwo\r\n", "one\n", "", b"two\r\n", "line 1"),
        (b"one\r\ntwo\r\n", "\ntwo", "", b"one\r\n", "line 1"),
        (b"one", "one", "1\n2", b"1\n2", "lines 1-2"),
        (b"a\r\nb\nc\r\nd", "a\nb\nc\nd", "a\nb\nx\ny\nc\nd", b"a\r\nb\nx\r\ny\r\nc\r\nd", "lines 1-6"),
        (b"a\nb\r\nc\n", "b", "b\nx", b"a\nb\r\nx\r\nc\n", "lines 2-3"),
        (b"a\r\nb\nc\n", "b", "b\nx", b"a\r\nb\nx\nc\n", "lines 2-3"),
        (b"mac\rlines\rhere", "lines", "x", b"mac\rx\rhere", "line 1"),
        (b"\xef\xbb\xbfone\ntwo", "one", "1", b"\xef\xbb\xbf1\ntwo", "line 1"),
        ("ä\x00ü\u2028ö\n".encode(), "ü", "ue", "ä\x00ue\u2028ö\n".encode(), "line 1"),
        (b"x (a+)+$ \\1\n", "(a+)+$ \\1", "\\g<0>\\n", b"x \\g<0>\\n\n", "line 1"),
        (b"\ttab  \n", "\ttab  ", "tab", b"tab\n", "line 1"),
        (b"one\n", "one", "lone \ud800", b"lone ?\n", "line 1"),
    ],
)
def test_only_what_was_asked_for_changes(
    scope: Scope, before: bytes, old: str, new: str, after: bytes, said: str
) -> None:
    file = scope.cwd / "a.txt"
    file.write_bytes(before)
    file.chmod(0o640)
    assert edit_file("a.txt", old, new, scope=scope) == f"edited a.txt: {said}"
    assert file.read_bytes() == after
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_all_of_them_are_replaced_when_asked(scope: Scope, end: str) -> None:
    file = scope.cwd / "a.txt"
    file.write_bytes(f"a{end}b a{end}{end}a{end}".encode())
    assert edit_file("a.txt", "a", "x\ny", True, scope=scope).startswith("edited a.txt: ")
    assert file.read_bytes() == f"x{end}y{end}b x{end}y{end}{end}x{end}y{end}".encode()


def test_places_are_told_as_they_are_afterwards(scope: Scope) -> None:
    file = scope.cwd / "a.txt"
    file.write_text("a\nb\na\nb\n" + "c\n" * 30)
    assert edit_file("a.txt", "a", "x\ny", True, scope=scope) == "edited a.txt: 2 places, lines 1-2, 4-5"
    assert file.read_text().startswith("x\ny\nb\nx\ny\nb\n")
    assert edit_file("a.txt", "c", "d", True, scope=scope).endswith(", 25, 26, ...")


def test_what_is_found_more_than_once_is_left_alone(scope: Scope) -> None:
    (scope.cwd / "a.txt").write_text("x = 1\ny\nx = 1\nx = 1 x = 1\n")
    assert failure(edit_file, "a.txt", "x = 1", "x = 2", scope=scope).startswith(
        "old is found 4 times in a.txt, lines 1, 3, 4: give more of the text around it"
    )
    assert (scope.cwd / "a.txt").read_text() == "x = 1\ny\nx = 1\nx = 1 x = 1\n"


def test_what_is_not_found_is_told_with_what_comes_nearest(scope: Scope) -> None:
    (scope.cwd / "a.py").write_text("import os\n\ndef total(items):\n    return sum(items)\n\nprint(1)\n")
    said = failure(edit_file, "a.py", "def totals(items):\n  return sum(items)", "x", scope=scope)
    assert said == (
        "old is not found in a.py: give it exactly as it stands in the file; nearest are these lines:\n"
        "3\tdef total(items):\n4\t    return sum(items)"
    )
    said = failure(edit_file, "a.py", "3\tdef total(items):\n4\t    return sum(items)", "x", scope=scope)
    assert "leave out the line numbers" in said and "3\tdef total(items):" in said
    said = failure(edit_file, "a.py", "\n\n  def total(items):", "x", scope=scope)
    assert "1\timport os\n2\t\n3\tdef total(items):" in said
    assert "nor any line like it" in failure(edit_file, "a.py", "zzzzzzzzzzzzzzzz", "x", scope=scope)
    assert "nor any line like it" in failure(edit_file, "a.py", "\n\n\n\n", "x", scope=scope)


def test_an_edit_that_says_nothing_is_refused(scope: Scope) -> None:
    (scope.cwd / "a.txt").write_text("one\n")
    assert "are the same" in failure(edit_file, "a.txt", "one\r\n", "one\n", scope=scope)
    assert "old is empty" in failure(edit_file, "a.txt", "", "x", scope=scope)


def test_what_is_no_text_or_too_large_is_not_edited(scope: Scope) -> None:
    (scope.cwd / "latin.txt").write_bytes(b"one\ncaf\xe9\n")
    assert failure(edit_file, "latin.txt", "one", "1", scope=scope) == (
        "latin.txt is not UTF-8 text (byte 0xe9 in line 2): it cannot be edited with this tool"
    )
    assert (scope.cwd / "latin.txt").read_bytes() == b"one\ncaf\xe9\n"
    with open(scope.cwd / "large.txt", "wb") as file:
        file.truncate(1 << 40)
    assert "a file of more than 10 MB" in failure(edit_file, "large.txt", "one", "1", scope=scope)
    (scope.cwd / "ones.txt").write_text("1" * 1_000_000)
    assert "more than can be replaced at once" in failure(edit_file, "ones.txt", "1", "1" * 99, True, scope=scope)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("text", "old"),
    [("x\n" * 300_000, "x\n" * 5000 + "y"), ("a" * 600_000, "a" * 5000 + "b"), ("ab\n" * 200_000, "ab\nab\nac")],
)
def test_texts_that_nearly_match_everywhere_take_no_longer_than_others(end: str, text: str, old: str) -> None:
    with pytest.raises(ToolError, match="not found"):  # a quadratic search would take minutes
        replaced(text.replace("\n", end), old, "z", False, "a.txt")


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["\n", "\r\n"]))),
    st.text("abc\n", min_size=1, max_size=4),
    st.text("abc\n", max_size=4),
)
def test_an_edit_is_what_it_would_be_with_line_feeds_only(lines: list[tuple[str, str]], old: str, new: str) -> None:
    text = "".join(line + end for line, end in lines)
    flat = text.replace("\r\n", "\n")
    if old == new or old not in flat:
        return
    edited, _ = replaced(text, old, new, True, "a.txt")
    assert edited.replace("\r\n", "\n") == flat.replace(old, new)
    if "\r" not in text:
        assert "\r" not in edited
    elif text.count("\n") == text.count("\r\n"):
        assert edited.count("\n") == edited.count("\r\n")


# -- what a person decides about


def test_a_preview_is_the_change(scope: Scope) -> None:
    (scope.cwd / "a.txt").write_text("".join(f"{number}\n" for number in range(1, 21)))
    where = scope.cwd / "a.txt"
    assert preview_edit("a.txt", "10\n", "ten\n", scope=scope) == (
        f"{where}\n@@ -7,7 +7,7 @@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13"
    )
    assert preview_write("a.txt", (scope.cwd / "a.txt").read_text() + "end", scope=scope) == (
        f"{where}\n@@ -18,3 +18,4 @@\n 18\n 19\n 20\n+end\n\\ no newline at the end"
    )
    assert preview_write("new.txt", "a\nb\n", scope=scope) == f"{scope.cwd}/new.txt (new)\n@@ -0,0 +1,2 @@\n+a\n+b"
    assert preview_write("a.txt", (scope.cwd / "a.txt").read_text(), scope=scope) == f"{where}\n(no change)"
    assert preview_write("x/y.txt", "", scope=scope) == f"{scope.cwd}/x/y.txt (new)\n"
    assert sorted(os.listdir(scope.cwd)) == ["a.txt", "src"]


def test_a_preview_shows_where_a_link_leads(scope: Scope) -> None:
    (scope.cwd / "innocent.txt").symlink_to(scope.roots[1] / "AGENT.md")
    assert preview_write("innocent.txt", "x\n", scope=scope).startswith(f"{scope.roots[1]}/AGENT.md (new)\n")


def test_a_preview_hides_nothing_and_acts_on_no_terminal(scope: Scope) -> None:
    shown = preview_write("a\u202etxt", "rm -rf /\r\x1b[2K\x1b]0;t\x07ls \u202e\u200b\n", scope=scope)
    assert "+rm -rf /\\r\\x1b[2K\\x1b]0;t\\x07ls \\u202e\\u200b" in shown
    assert "a\\u202etxt" in shown
    assert all(each.isprintable() or each == "\n" for each in shown)


def test_a_change_of_line_ends_is_seen(scope: Scope) -> None:
    assert diff("one\ntwo\n", "one\r\ntwo\r\n") == "@@ -1,2 +1,2 @@\n-one\n-two\n+one\\r\n+two\\r"
    assert diff("one\r\ntwo\r\n", "1\r\ntwo\r\n") == "@@ -1,2 +1,2 @@\n-one\n+1\n two"


def test_a_huge_preview_is_cut(scope: Scope) -> None:
    shown = preview_write("a.txt", "line\n" * 100_000, scope=scope)
    assert len(shown.split("\n")) == 2002 and shown.endswith("... (98001 more lines, not shown here)")
    assert preview_write("a.txt", "x" * 1_000_000, scope=scope).endswith(
        "xxx ... (998001 more characters)\n\\ no newline at the end"
    )


def test_a_preview_of_two_large_texts_does_not_compare_them_line_by_line(scope: Scope) -> None:
    old, new = ("".join(f"{word} {number % 997}\n" for number in range(50_000)) for word in ("old", "new"))
    shown = diff("same\n" + old + "end\n", "same\n" + new + "end\n").split("\n")  # comparing would take minutes
    assert shown[0] == "@@ -1,50002 +1,50002 @@"
    assert sum(line.startswith("-") for line in shown) == sum(line.startswith("+") for line in shown) == 1000
    assert len(shown) == 2003


def test_a_preview_of_what_is_no_text_says_so(scope: Scope) -> None:
    (scope.cwd / "a.bin").write_bytes(b"\xff\xff")
    assert "a.bin (not UTF-8 text (byte 0xff in line 1); it is replaced as a whole)\n@@" in preview_write(
        "a.bin", "x\n", scope=scope
    )


def test_a_preview_fails_where_the_call_would(scope: Scope) -> None:
    (scope.cwd / "a.txt").write_text("one\n")
    for refused in ("../x", ".env", "settings.conf", f"{scope.roots[1]}/sessions/x.jsonl"):
        with pytest.raises(PathRefused):
            preview_write(refused, "x", scope=scope)
        with pytest.raises(PathRefused):
            preview_edit(refused, "x", "y", scope=scope)
    with pytest.raises(ToolError, match="is a folder"):
        preview_write("src", "x", scope=scope)
    with pytest.raises(ToolError, match="not found"):
        preview_edit("a.txt", "two", "2", scope=scope)


# -- listing


def test_folders_come_first_and_what_is_closed_not_at_all(scope: Scope) -> None:
    for name, size in (("b.txt", 5), ("a.txt", 1_234_567), (".env", 1), ("settings.conf", 1), (".env.example", 2)):
        (scope.cwd / name).write_bytes(b"x" * size)
    os.mkfifo(scope.cwd / "fifo")
    (scope.cwd / "out").symlink_to("../outside/secret")
    (scope.cwd / "zoo").mkdir()
    (scope.cwd / "two\nlines\x1b[31m").touch()
    assert list_dir(scope=scope).split("\n") == [
        "src/",
        "zoo/",
        ".env.example  2 B",
        "a.txt  1.2 MB",
        "b.txt  5 B",
        "fifo  no regular file",
        "out -> ../outside/secret",
        "two\ufffdlines  0 B",
    ]
    assert list_dir("src", scope=scope) == "src is empty"
    assert list_dir("", scope=scope) == list_dir(str(scope.cwd), scope=scope)
    assert ".state" not in list_dir(str(scope.roots[1]), scope=scope)
    assert failure(list_dir, "a.txt", scope=scope) == "a.txt is not a folder: read a file with read_file"


def test_of_many_entries_the_first_are_listed(scope: Scope) -> None:
    for number in range(600):
        (scope.cwd / "src" / f"{number:03}").touch()
    lines = list_dir("src", scope=scope).split("\n")
    assert len(lines) == 501
    assert lines[499:] == ["499  0 B", "[100 more; find them by name with glob]"]


# -- all of them


@pytest.fixture
def traps(scope: Scope) -> Scope:
    """A scope with secrets outside and inside, and links to them."""
    cwd, ws = scope.roots
    outside = cwd.parent / "outside"
    for path in (
        outside / "secret.txt",
        cwd / ".env",
        cwd / "src" / ".ENV",
        cwd / "settings.conf",
        ws / ".state" / "secret.txt",
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text(SECRET)
    for name, target in (
        ("file-link", "../outside/secret.txt"),
        ("absolute-link", str(outside / "secret.txt")),
        ("dir-link", "../outside"),
        ("dangling", "../outside/missing"),
        ("hop", "hop2"),
        ("hop2", "file-link"),
        ("slash", "/"),
        ("to-env", ".env"),
        ("to-state", str(ws / ".state")),
    ):
        os.symlink(target, cwd / name)
    os.link(cwd / "settings.conf", cwd / "hard.txt")
    os.link(ws / ".state" / "secret.txt", ws / "hard.txt")
    return scope


ESCAPES = [
    "..",
    "../outside/secret.txt",
    "src/../../outside/secret.txt",
    "{outside}/secret.txt",
    "{outside}",
    "file-link",
    "absolute-link",
    "dir-link",
    "dir-link/secret.txt",
    "dir-link/missing.txt",
    "dangling",
    "hop",
    "slash{outside}/secret.txt",
    "/proc/self/root{outside}/secret.txt",
    "/proc/self/cwd/..",
    "/etc",
    "~",
    "~/x",
    "~root",
    "src\0",
    ".env",
    ".ENV",
    "src/.env",
    "src/.ENV",
    "to-env",
    "settings.conf",
    "hard.txt",
    "{ws}/hard.txt",
    "{ws}/.state",
    "{ws}/.state/secret.txt",
    "to-state",
    "to-state/secret.txt",
    "to-state/new",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_no_tool_gets_out_or_at_what_is_closed(traps: Scope, path: str) -> None:
    cwd, ws = traps.roots
    outside = cwd.parent / "outside"
    path = path.format(outside=outside, ws=ws)
    calls: list[tuple[Tool, tuple[str, ...]]] = [
        (read_file, (path,)),
        (list_dir, (path,)),
        (write_file, (path, "x")),
        (write_file, (f"{path}/new.txt", "x")),
        (edit_file, (path, "nobody", "everybody")),
        (glob, ("*", path)),
        (grep, ("nobody", path)),
        (grep, ("n.b", path)),
    ]
    for tool, args in calls:
        with pytest.raises(ToolError) as refused:
            tool(*args, scope=traps)
        if path not in ("hard.txt", f"{ws}/hard.txt"):
            assert isinstance(refused.value, PathRefused)
        assert SECRET not in str(refused.value) and "secret.txt," not in str(refused.value)
    for secret in (outside / "secret.txt", cwd / ".env", cwd / "src" / ".ENV", cwd / "settings.conf"):
        assert secret.read_text() == SECRET
    assert os.listdir(outside) == ["secret.txt"]
    assert os.listdir(ws / ".state") == ["secret.txt"]


def test_sessions_may_be_read_but_not_written(scope: Scope) -> None:
    chat = scope.roots[1] / "sessions" / "chat.jsonl"
    chat.write_text("{}\n")
    os.link(chat, scope.cwd / "hard.txt")
    assert read_file(str(chat), scope=scope) == "1\t{}"
    assert "chat.jsonl" in list_dir(str(chat.parent), scope=scope)
    for path in (str(chat), str(chat.parent / "new.jsonl"), "../ws/Sessions/x", "hard.txt"):
        for tool, args in ((write_file, ("x",)), (edit_file, ("{}", "x"))):
            with pytest.raises(PathRefused):
                tool(path, *args, scope=scope)
    assert chat.read_text() == "{}\n"


def test_no_tool_leaks_while_links_are_swapped(traps: Scope) -> None:
    (traps.cwd / "src" / "secret.txt").write_text("fine")
    stop, begun = threading.Event(), threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for target in ("src", "../outside"):
                os.symlink(target, traps.cwd / "next")
                os.rename(traps.cwd / "next", traps.cwd / "turning")
            begun.set()

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        assert begun.wait(30)
        for _ in range(150):
            for tool, args in (
                (read_file, ("turning/secret.txt",)),
                (list_dir, ("turning",)),
                (edit_file, ("turning/secret.txt", "e", "e!")),
                (write_file, ("turning/new.txt", "x")),
                (grep, ("body", "turning")),
                (glob, ("turning/*",)),
            ):
                try:
                    said = tool(*args, scope=traps)
                except PathRefused:
                    continue
                except ToolError as error:
                    assert "found" in str(error) and SECRET not in str(error)
                else:
                    assert SECRET not in said
                    assert tool is not grep or "no line matches" in said
    finally:
        stop.set()
        thread.join()
    assert os.listdir(traps.cwd.parent / "outside") == ["secret.txt"]
    assert (traps.cwd.parent / "outside" / "secret.txt").read_text() == SECRET


def test_the_schemas_are_short() -> None:
    tools = (read_file, write_file, edit_file, list_dir, glob, grep)
    assert len(json.dumps([each.schema for each in tools])) <= 2000
    assert [each.name for each in tools if each.read_only] == ["read_file", "list_dir", "glob", "grep"]
    assert [each.name for each in tools if each.asks] == ["write_file", "edit_file"]


def test_a_file_that_is_looked_for_elsewhere_is_found_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("plum")
    (tmp_path / "deep").mkdir()
    for path in ("deep/notes.txt", "nowhere/at/all/notes.txt"):
        with pytest.raises(ToolError, match=r"there is no .*; in the working directory there is notes\.txt$"):
            read_file(path, scope=Scope((tmp_path,)))
    with pytest.raises(ToolError, match=r"in its folder there are: notes\.txt"):
        read_file("note.txt", scope=Scope((tmp_path,)))
