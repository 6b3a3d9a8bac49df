"""What was acknowledged survives the end of the process at any write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .program import ROOT


@pytest.mark.parametrize("kind", ["short", "long"])
def test_a_conversation_survives_the_end_of_its_process_at_any_write(tmp_path: Path, kind: str) -> None:
    command = [sys.executable, "-m", "tests.crash", kind, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
