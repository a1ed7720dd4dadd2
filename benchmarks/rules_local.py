"""Measures local programs: adds through a database file without a server, and startup times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.environments import python_of
from benchmarks.plan import Plan
from benchmarks.processes import ROOT, environment, measured_in_child, scratch, sessions_server
from benchmarks.report import Finding, Rounds, alternate
from benchmarks.rules_peers import ENVIRONMENTS, PEERS, PINS, rates

STARTS: Final = 9
"""How often a program is started; the fastest start counts, since disturbances only add time."""


def embedded(plan: Plan) -> list[Finding]:
    """Adds through a database file: 64 tasks relative to the OpenAI SDK's SQLite session, and one relative to a
    server."""
    [peer] = (each for each in PEERS if each.program == "openai_sqlite")
    python = python_of(ENVIRONMENTS / peer.environment, PINS / f"{peer.environment}.txt")
    beside, alone = Rounds(), Rounds()
    for _ in range(plan.rounds):
        through_file, through_server = _through_file(plan), _through_server(plan)
        beside.first.append(rates(peer, python, seconds=plan.seconds)["64"])
        beside.second.append(through_file["rate"])
        alone.first.append(through_server["p50_micros"])
        alone.second.append(through_file["p50_micros"])
    return [
        Finding(
            "embedded_adds",
            f"durable adds through Client('./x.db') beside {peer.what} in process, 64 tasks both",
            3,
            beside.ratio,
            at_least=True,
            numbers={"ours": beside.second, "peer": beside.first, "unit": "messages/s"},
        ),
        Finding(
            "embedded_alone",
            "p50 of one caller's add through Client('./x.db') beside that through a server over TCP",
            0.7,
            alone.ratio,
            at_least=False,
            numbers={"file": alone.second, "server": alone.first, "unit": "µs"},
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


def _through_file(plan: Plan) -> dict[str, float]:
    with scratch() as folder:
        return _adds(str(folder / "x.db"), plan.seconds, folder)


def _through_server(plan: Plan) -> dict[str, float]:
    with scratch() as folder, sessions_server(folder) as server:
        return _adds(server.address, plan.seconds, folder)


def _adds(target: str, seconds: float, folder: Path) -> dict[str, float]:
    found: dict[str, float] = measured_in_child(
        "benchmarks.python_adds", target, seconds, what="The client", XDG_RUNTIME_DIR=str(folder)
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
