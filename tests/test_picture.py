"""The picture in the README is the real screen, and its script makes it anew."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from .picture import PICTURE, main


def words(path: Path) -> str:
    """All that is written in a picture."""
    return " ".join(each.text or "" for each in ElementTree.parse(path).getroot().iter() if each.text)


def test_the_script_makes_the_picture_that_is_kept(tmp_path: Path) -> None:
    main(tmp_path / "screen.svg")
    made, kept = words(tmp_path / "screen.svg"), words(PICTURE)
    changing = r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]|\d+(\.\d)?s\b|~?\d+%|[\d.]+k/"  # how long it took, and the tokens of the time of day
    was, is_now = ("".join(re.sub(changing, "", each).split()) for each in (kept, made))
    assert is_now == was, "python -m tests.picture makes it anew"
