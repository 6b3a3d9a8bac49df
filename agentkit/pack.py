"""`agentkit zipapp`: agentkit and all it needs in one file that any Python from 3.10 on runs, without pip.

The packages are taken as pure Python for the oldest Python there is, whatever Python builds the file. What goes in is
sorted and bears no date, so that the same input gives the same bytes. One that is such a file itself copies itself.
"""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from . import atomic
from .errors import AgentkitError
from .printable import printable

OLDEST = "3.10"
# As pyproject.toml says it, and so what it says of the sample; a checkout that was not installed has nothing to ask.
NEEDS = ("requests>=2.32", "urllib3>=2.3", "websockets>=16,<18")
SAMPLE = (
    ".agents/assistant/AGENT.md",
    ".agents/assistant/TOOLS.md",
    ".agents/assistant/memory/agentkit.md",
    ".agents/assistant/skills/commit/SKILL.md",
)
PATIENCE = 300.0  # seconds that pip may take

SHEBANG = b"#!/usr/bin/env python3\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file knows

# It has to be read by Pythons that could not read the rest.
MAIN = """\
import sys

if sys.version_info < (3, 10):
    sys.exit("agentkit needs Python 3.10 or later, this is %d.%d: start it with another one." % sys.version_info[:2])

from agentkit.__main__ import main

sys.exit(main())
"""

Files = dict[str, bytes]  # by their path in the archive


class PackError(AgentkitError):
    """The file cannot be built. What to do: its text says."""


def zipapp(target: Path) -> int:
    """Build the file, and say what it is; returns the exit code."""
    try:
        data = archive()
        _write(target, data)
    except PackError as error:
        print(f"{printable(target.name)} was not built: {printable(str(error))}", file=sys.stderr)
        return 1
    name, size = printable(str(target)), f"{len(data) / 1e6:.1f} MB"
    print(f"{name}: {size}, for Python {OLDEST} and later; python3 {printable(target.name)} starts it.")
    return 0


def archive() -> bytes:
    """The file as bytes. Raises PackError."""
    if found := _running():
        try:
            return found.read_bytes()
        except OSError as error:
            raise PackError(f"{found} cannot be read ({error.strerror})") from None
    files = {"__main__.py": MAIN.encode(), **_own(Path(__file__).parent)}
    for wheel in _wheels():
        files.update(wheel)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            packed.writestr(info, files[name])
    return SHEBANG + buffer.getvalue()


def _running() -> Path | None:
    """The file that this is run from, where it is one."""
    path = getattr(__spec__.loader, "archive", None)
    return Path(path) if path else None


def _own(package: Path) -> Files:
    """The modules of agentkit, and the sample workspace: that of a checkout lies beside them."""
    found = {
        f"agentkit/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*")
        if (path.suffix == ".py" or path.name == "py.typed") and "__pycache__" not in path.parts
    }
    sample = package / "sample"
    if not sample.is_dir():
        sample = package.parent / "workspace"
    for name in SAMPLE:
        found[f"agentkit/sample/{name}"] = (sample / name).read_bytes()
    return found


def _wheels() -> Iterator[Files]:
    """What is needed beside agentkit, as pip finds it. Raises PackError."""
    with TemporaryDirectory(prefix="agentkit-") as folder:
        _download(folder)
        for path in sorted(Path(folder).glob("*.whl")):
            try:
                with zipfile.ZipFile(path) as wheel:
                    yield {name: wheel.read(name) for name in wheel.namelist() if _belongs(name)}
            except (OSError, zipfile.BadZipFile) as error:
                raise PackError(f"{path.name} is no package ({error}): pip cache purge, then try again") from None


def _belongs(name: str) -> bool:
    """Modules, the data they read, and what their licences want to go along."""
    folder = name.partition("/")[0]
    if folder.endswith(".dist-info"):
        return name.endswith("/METADATA") or "licen" in name.lower() or "copying" in name.lower()
    return not folder.endswith(".data") and name.endswith((".py", ".pem"))


def _download(folder: str) -> None:
    pure = ["--python-version", OLDEST, "--implementation", "py", "--platform", "any", "--abi", "none"]
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet"]
    command += [*pure, "--only-binary", ":all:", "--dest", folder, *NEEDS]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise PackError(
            f"pip had not got the packages after {PATIENCE:g} s: look at the network, and try again"
        ) from None
    except OSError as error:
        raise PackError(f"{sys.executable} cannot be started ({error.strerror})") from None
    if done.returncode:
        raise PackError(_reason(done.stderr))


def _reason(said: str) -> str:
    """Why there are no packages, and what to do."""
    if "No module named pip" in said:
        return "this Python has no pip: python3 -m ensurepip, or apt install python3-venv and a virtual environment"
    lines = [line.removeprefix("ERROR:").strip() for line in said.splitlines() if line.startswith("ERROR:")]
    why = next((line for line in lines if "No matching distribution" in line), lines[-1] if lines else "pip failed")
    return f"{why}. It needs {', '.join(NEEDS)} as wheels: look at the network, the proxy and `pip config list`"


def _write(target: Path, data: bytes) -> None:
    if target.is_dir():
        raise PackError(f"{target} is a folder: name a file in it with -o")
    try:
        atomic.replace(target, data, 0o755)
    except OSError as error:
        raise PackError(f"{target} cannot be written ({error.strerror}): name another place with -o") from None
