"""What installing agentkit brings along."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from ..program import ROOT
from .figures import Measured, Skip, figure


def _own() -> list[str]:
    """agentkit's requirements: as installed, or as the checkout says."""
    try:
        return metadata.requires("agentkit") or []
    except metadata.PackageNotFoundError:
        pass
    if sys.version_info < (3, 11):
        raise Skip("agentkit is not installed, and reading pyproject.toml needs Python 3.11")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


@cache
def _brought() -> dict[str, metadata.Distribution]:
    """The packages that the core needs, directly or not, without agentkit."""
    try:
        from packaging.requirements import Requirement  # comes with pytest
    except ImportError:
        raise Skip("the module packaging is not installed") from None
    found: dict[str, metadata.Distribution] = {}
    wanted = _own()
    while wanted:
        requirement = Requirement(wanted.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found[name] = metadata.distribution(name)
        wanted += found[name].requires or []
    return found


@figure("install packages", bar=7)
def packages() -> Measured:
    """packages that `pip install .` brings, agentkit among them"""
    return Measured(1 + len(_brought()), "", note=", ".join(sorted(_brought())))


def _bytes(file: metadata.PackagePath) -> int:
    """The size of one line of a RECORD, as it is on disk; 0 where it is gone."""
    path = Path(str(file.locate()))
    return path.stat().st_size if path.is_file() else 0


@figure("install size", bar=6)
def size() -> Measured:
    """what those take on disk, without agentkit"""
    sizes = {name: sum(map(_bytes, found.files or ())) / 1e6 for name, found in _brought().items()}
    return Measured(sum(sizes.values()), "MB", note=", ".join(f"{name} {each:.2f}" for name, each in sizes.items()))
