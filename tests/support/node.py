"""Node.js programs of the tests, with packages pinned by a lock file."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.support.server import ROOT

CACHE: Final = ROOT / ".cache" / "node"


def installed(folder: Path) -> Path:
    """A copy of the folder with its packages, kept for later runs.

    Raises RuntimeError, saying what to install.
    """
    if shutil.which("npm") is None:
        raise RuntimeError("npm is needed for this test: install Node.js 20 or later.")
    copy = CACHE / folder.relative_to(ROOT)
    copy.mkdir(parents=True, exist_ok=True)
    lock, stamp = folder / "package-lock.json", copy / ".installed.json"
    with (copy / ".installing").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # parallel tests share the folder
        for path in folder.iterdir():
            shutil.copy2(path, copy)
        if not stamp.is_file() or stamp.read_bytes() != lock.read_bytes():
            subprocess.run(["npm", "ci", "--silent"], cwd=copy, check=True)
            shutil.copy2(lock, stamp)
    return copy


def start_node(folder: Path, script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(["node", script, *arguments], cwd=folder, stdout=subprocess.PIPE, text=True)
