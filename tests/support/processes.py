"""Processes of tests: their end, and what the operating system reports about them."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import AnyStr


@contextmanager
def ending(process: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """The process, which is killed at the end of the block if it still runs: a test that fails leaves none."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def memory_bytes(pid: int) -> int:
    """The current memory of a process."""
    statistics = Path(f"/proc/{pid}/statm")
    if statistics.exists():
        return int(statistics.read_text().split()[1]) * resource.getpagesize()
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) * 1024
