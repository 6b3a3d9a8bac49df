"""Measure and print a table: `python -m tests.bench [NAME...] [--json FILE]`, from the root of the repository.

NAME: measure only the figures whose names begin so; FILE: where they are written as JSON, else bench.json. A number is
the median of several rounds. Where a bare program sets the floor, the two run in turns, so that a busy machine slows
both, and the bar holds for the ratio. A missed bar is reported, and is no failure: the exit code is 1 only where a
figure could not be measured at all.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from .figures import FIGURES, Figure, Measured, Skip

TOPICS = (
    "start",
    "stream",
    "turns",
    "history",
    "install",
    "interrupt",
    "screen",
    "keyboard",
    "prompt",
    "failover",
    "gateway",
    "ways",
    "schedules",
)  # modules that register figures, in the table's order

ROW = "{:<30} {:>11} {:>11} {:>6} {:>10}  {:<7} {}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only figures whose names begin so")
    parser.add_argument(
        "--json", metavar="FILE", type=Path, default=Path("bench.json"), help="where to write the figures (bench.json)"
    )
    options = parser.parse_args()
    for topic in TOPICS:
        import_module(f"{__package__}.{topic}")
    chosen = [each for each in FIGURES.values() if each.name.startswith(tuple(options.names or [""]))]
    if not chosen:
        parser.error(f"no figure is called like that; there are: {', '.join(FIGURES)}")
    print(ROW.format("figure", "measured", "floor", "ratio", "bar", "", "what"))
    missed: list[str] = []
    failed: list[str] = []
    records: list[dict[str, Any]] = []
    for each in chosen:
        gc.collect()
        gc.freeze()  # what the figures before it have left behind costs this one nothing
        try:
            measured = each.measure()
        except Skip as why:
            print(ROW.format(each.name, "-", "", "", "", "skipped", why), flush=True)
        except Exception:  # the other figures are still worth having
            print(ROW.format(each.name, "-", "", "", "", "FAILED", each.what), flush=True)
            traceback.print_exc()
            failed.append(each.name)
        else:
            print(_row(each, measured), flush=True)
            records.append(each.record(measured))
            if not each.ok(measured):
                missed.append(each.name)
    print(f"Missed: {', '.join(missed)}." if missed else "Every bar that was measured is held.")
    if failed:
        print(f"Not measured: {', '.join(failed)}.")
    machine = {"python": platform.python_version(), "system": platform.platform()}
    options.json.write_text(json.dumps({**machine, "missed": missed, "figures": records}, indent=1) + "\n")
    print(f"Written to {options.json}.")
    return 1 if failed else 0


def _row(figure: Figure, measured: Measured) -> str:
    verdict = "" if figure.bar is None and measured.held else "ok" if figure.ok(measured) else "MISSED"
    return ROW.format(
        figure.name,
        f"{measured.value:.4g} {measured.unit}".strip(),
        "" if measured.floor is None else f"{measured.floor:.4g} {measured.unit}",
        "" if measured.ratio is None else f"{measured.ratio:.2f}",
        "" if figure.bar is None else f"{figure.bar:g} {measured.unit if measured.ratio is None else ''}".strip(),
        verdict,
        f"{figure.what} [{measured.note}]" if measured.note else figure.what,
    )


if __name__ == "__main__":
    sys.exit(main())
