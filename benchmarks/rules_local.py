"""Measures local programs: one caller's adds through a database file without a server, and startup times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.plan import Plan
from benchmarks.processes import ROOT, environment, measured_in_child, scratch, sessions_server
from benchmarks.report import Finding, alternate

STARTS: Final = 9
"""How often a program is started; the fastest start counts, since disturbances only add time."""


def embedded_alone(plan: Plan) -> list[Finding]:
    """One caller's adds through a database file, relative to those through a server."""
    found = alternate(
        lambda: _through_server(plan), lambda: through_file(plan, callers=1)["p50_micros"], rounds=plan.rounds
    )
    return [
        Finding(
            "embedded_alone",
            "p50 of one caller's add through Client('./x.db') beside that through a server over TCP",
            0.7,
            found.ratio,
            at_least=False,
            numbers={"file": found.second, "server": found.first, "unit": "µs"},
        ),
    ]


def starts(_plan: Plan) -> list[Finding]:
    """The CPU time until the command line and the client are ready."""
    help_ = alternate(lambda: _cpu("-c", "import typer"), _help, rounds=STARTS)
    loaded = alternate(
        lambda: _cpu("-c", "from sessions_client import *"),
        lambda: _cpu("-c", "import sessions_client"),
        rounds=STARTS,
    )
    bare = min(_cpu("-c", "") for _ in range(STARTS))
    first, second = (min(side) - bare for side in (loaded.first, loaded.second))
    return [
        Finding(
            "help",
            "`sessions --help` beside `python -c 'import typer'`",
            1.3,
            min(help_.second) / min(help_.first),
            at_least=False,
            numbers={"help": help_.second, "typer": help_.first, "unit": "s of CPU"},
        ),
        Finding(
            "import",
            "`import sessions_client` beside the same with all of its names, without Python's own start",
            0.5,
            second / first,
            at_least=False,
            numbers={"import": loaded.second, "all": loaded.first, "python": bare, "unit": "s of CPU"},
        ),
    ]


def through_file(plan: Plan, *, callers: int) -> dict[str, float]:
    """The rate of adds through a database file, and the median time of one."""
    with scratch() as folder:
        return _adds(str(folder / "x.db"), plan.seconds, callers, folder)


def _through_server(plan: Plan) -> float:
    with scratch() as folder, sessions_server(folder) as server:
        return _adds(server.address, plan.seconds, 1, folder)["p50_micros"]


def _adds(target: str, seconds: float, callers: int, folder: Path) -> dict[str, float]:
    found: dict[str, float] = measured_in_child(
        "benchmarks.python_adds", target, seconds, callers, what="The client", XDG_RUNTIME_DIR=str(folder)
    )
    return found


def _help() -> float:
    return _cpu("-m", "sessions_cli", "--help")


def _cpu(*arguments: str) -> float:
    """The CPU time of a Python program, in seconds."""
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"python {' '.join(arguments)} failed with {process.returncode}.")
    return used.ru_utime + used.ru_stime
