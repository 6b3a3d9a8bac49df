"""Wheels of what is installed here, as an index would have them for any Python: nothing is asked of a network."""

from __future__ import annotations

import re
import zipfile
from importlib import metadata
from pathlib import Path

NEEDED = ("requests", "urllib3", "certifi", "idna", "charset-normalizer", "websockets")


def wheels(folder: Path) -> dict[str, str]:
    """Put them into a folder; returns the environment in which pip finds them there, and nowhere else."""
    for name in NEEDED:
        found = metadata.distribution(name)
        label = f"{re.sub('[-.]', '_', name)}-{found.version}"
        with zipfile.ZipFile(folder / f"{label}-py3-none-any.whl", "w") as wheel:
            for file in found.files or ():
                if file.suffix in (".py", ".pem", ".pyi", ".c", ".typed") and file.parts[0] != "..":
                    wheel.writestr(str(file), file.read_binary())
            said = (found.read_text("METADATA") or "").splitlines()
            kept = [line for line in said if not line.startswith("Requires-Python")]
            wheel.writestr(f"{label}.dist-info/METADATA", "\n".join(kept) + "\n")
            wheel.writestr(f"{label}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{label}.dist-info/licenses/LICENSE", "as it is\n")
            wheel.writestr(f"{label}.dist-info/RECORD", "")
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}
