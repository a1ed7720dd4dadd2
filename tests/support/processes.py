"""What the operating system reports about a process."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path


def memory_bytes(pid: int) -> int:
    """The current memory of a process."""
    statistics = Path(f"/proc/{pid}/statm")
    if statistics.exists():
        return int(statistics.read_text().split()[1]) * resource.getpagesize()
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) * 1024
