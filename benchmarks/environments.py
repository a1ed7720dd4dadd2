"""Separate environments for third-party libraries whose pins conflict with ours and with each other's."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import venv
from pathlib import Path


def python_of(home: Path, pins: Path) -> Path:
    """The interpreter of an environment with exactly the pinned versions; created again when the pins change.

    Waits while another process creates it."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _created(home, pins)


def _created(home: Path, pins: Path) -> Path:
    python, mark = home / "bin" / "python", home / "pins.txt"
    wanted = pins.read_text(encoding="utf-8")
    if not mark.is_file() or mark.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home)
        install = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "-r",
            str(pins),
        ]
        subprocess.run(install, check=True, stdout=sys.stderr)
        mark.write_text(wanted, encoding="utf-8")
    return python
