"""Everything at once, for as long as one likes.

`python -m tests.soak [--minutes N] [--seed S]`, from the root of the repository: a process that serves, fifty clients
at its gateway, people on Discord, a chat in a terminal, heartbeats and jobs as often as files allow, and a model that
fails in every way; the process that serves is ended now and then, and beside all of it the crash tests end processes at
every point there is. At the end every message must have been answered or refused by name, nothing may be lost or
doubled, and threads, descriptors and memory must be what they were. The exit code is 1 where something is wrong, and
the folder it happened in is kept.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from .play import Plan, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0, metavar="N", help="how long it goes on (1)")
    parser.add_argument("--seed", type=int, metavar="S", help="for the same once more; one is made up otherwise")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else secrets.randbelow(1_000_000)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"seed {seed}, in {folder}", flush=True)
    outcome = play(folder, Plan(options.minutes * 60, seed), lambda text: print(text, flush=True))
    print(outcome.report)
    if outcome.wrong:
        print(f"The folder is kept: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
