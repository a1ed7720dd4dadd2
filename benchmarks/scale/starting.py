"""Measures which part of a start costs the server how much CPU time, and what short programs cost.

Run by hand: `.venv/bin/python -m benchmarks.scale.starting`. Each figure is the smallest of several starts, since
disturbances only add time.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Sequence as Seq
from pathlib import Path
from typing import Final

from benchmarks.processes import environment, measured_in_child, scratch, sqlite_url

STARTS: Final = 9

PARTS: Final = ("Python", "command line", "server", "opening")
"""Python itself; importing the command line; importing the rest; and opening the database and the port."""

PROGRAMS: Final = {
    "sessions-server --help": ("-m", "sessions_server", "--help"),
    "sessions-server doctor": ("-m", "sessions_server", "doctor"),
    "sessions-server export": ("-m", "sessions_server", "export", "dump"),
    "import sqlalchemy": ("-c", "import sqlalchemy"),
    "import grpc.aio": ("-c", "import grpc.aio"),
}
"""What is measured as a whole, with Python's own start and end."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=STARTS, help="how often each is started")
    starts = parser.parse_args().starts
    with scratch() as folder:
        existing = sqlite_url(folder / "existing.db")
        _parts(existing)  # also compiles the modules
        _show(
            "a start on an empty folder",
            [_parts(sqlite_url(folder / f"{each}.db")) for each in range(starts)],
        )
        _show("a start on a database that exists", [_parts(existing) for _ in range(starts)])
        for what, arguments in PROGRAMS.items():
            spent = min(_whole(arguments, folder, existing) for _ in range(starts))
            sys.stdout.write(f"{what}: {spent * 1000:.0f} ms\n")


def _parts(url: str) -> list[float]:
    """The CPU time of each part of one start, in seconds."""
    found: list[float] = measured_in_child("benchmarks.scale.started", url, what="a start")
    return found


def _show(what: str, starts: list[list[float]]) -> None:
    least = [min(part) * 1000 for part in zip(*starts, strict=True)]
    parts = ", ".join(f"{name} {millis:.0f}" for name, millis in zip(PARTS, least, strict=True))
    sys.stdout.write(f"{what}: {sum(least):.0f} ms ({parts})\n")


def _whole(arguments: Seq[str], folder: Path, url: str) -> float:
    """The CPU time of one program, in seconds."""
    (folder / "dump").unlink(missing_ok=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment({"SESSIONS_DATABASE_URL": url}),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
