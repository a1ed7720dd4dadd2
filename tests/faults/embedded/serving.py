"""The processes that serve a database file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path


def servers(database: Path) -> list[psutil.Process]:
    """The processes that serve a file."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "share" in command and str(database) in command:
            found.append(process)
    return found
