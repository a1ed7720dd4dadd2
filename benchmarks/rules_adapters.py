"""Measures the adapters for agent frameworks beside the frameworks' own stores, which run in process.

Both sides run in one process in the framework's environment, in turn. Ours is measured twice: over TCP, and through a
database file, as the frameworks' stores use one.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypeAlias

from benchmarks.environments import python_of
from benchmarks.plan import Plan
from benchmarks.processes import ROOT, environment, measured_in_child, scratch
from benchmarks.report import Finding
from benchmarks.rules_calls import ours
from sessions_client import Client

ENVIRONMENTS: Final = ROOT / ".cache" / "integrations"
PINS: Final = ROOT / "tests" / "integrations"
REPEATS: Final = 10

Times: TypeAlias = dict[str, list[float]]
"""Milliseconds of each operation, one for each round."""


def adapters(plan: Plan) -> list[Finding]:
    """Adapters of agent frameworks, at 1,000 items, relative to the frameworks' own stores."""
    openai = _milliseconds(plan, "openai_agents")
    adk = _milliseconds(plan, "google_adk")
    langgraph = _milliseconds(plan, "langgraph")
    sqlalchemy = "SQLAlchemySession.add_items"
    of_one = f"{sqlalchemy}, one caller"
    of_adk = "DatabaseSessionService.append_event, one caller"
    lists = "list_sessions of 1,000 through our adapter beside SqliteSessionService"
    newest = "get_tuple at 1,000 checkpoints"
    own_saver = f"{newest} beside AsyncSqliteSaver"
    return [
        _faster("adapter_openai_append", openai, "together", f"{sqlalchemy}, 16 callers"),
        _faster("adapter_openai_append_alone", openai, "append", of_one),
        _faster("adapter_openai_append_file", openai, "append", of_one, through="file"),
        _faster("adapter_adk_append", adk, "append", of_adk),
        _faster("adapter_adk_append_file", adk, "append", of_adk, through="file"),
        _as_fast("adapter_adk_list", lists, 2, adk, "our list", "sqlite list"),
        _as_fast("adapter_adk_list_file", _by_file(lists), 2, adk, "file list", "sqlite list"),
        _as_fast("adapter_get_tuple", own_saver, 2, langgraph, "our get", "own get"),
        _as_fast("adapter_get_tuple_file", _by_file(own_saver), 2, langgraph, "file get", "own get"),
        _as_fast(
            "adapter_get_tuple_growth",
            f"{newest} beside the same at 10",
            1.2,
            langgraph,
            "our get",
            "our get of few",
        ),
    ]


def _faster(name: str, found: Times, operation: str, theirs: str, *, through: str = "our") -> Finding:
    what = f"appends at 1,000 items through our adapter beside {theirs}"
    ratio = _ratio(found, f"own {operation}", f"{through} {operation}")
    shown = _by_file(what) if through == "file" else what
    return Finding(name, shown, 2, ratio, at_least=True, numbers=_numbers(found))


def _as_fast(name: str, what: str, most: float, found: Times, one: str, other: str) -> Finding:
    return Finding(name, what, most, _ratio(found, one, other), at_least=False, numbers=_numbers(found))


def _by_file(what: str) -> str:
    return f"{what}, both in files"


def _ratio(found: Times, one: str, other: str) -> float:
    return statistics.median(first / second for first, second in zip(found[one], found[other], strict=True))


def _numbers(found: Times) -> dict[str, object]:
    return {**found, "unit": "ms"}


def _milliseconds(plan: Plan, framework: str) -> Times:
    """The median of each operation in each round."""
    python = python_of(ENVIRONMENTS / framework, PINS / f"{framework}.txt")
    with ours() as server, scratch() as folder, served_file(folder) as (file, paths):
        found: Times = measured_in_child(
            f"benchmarks.peers.beside_{framework}",
            *(folder, server.address, file, plan.rounds, REPEATS),
            what=f"The adapter for {framework}",
            python=python,
            PYTHONPATH=paths,
        )
    return found


@contextmanager
def served_file(folder: Path) -> Iterator[tuple[Path, str]]:
    """A database file with its server, and the PYTHONPATH with which another environment, which has no server, finds
    our client in the server's version."""
    about = folder / "installed" / "sessions.dist-info"
    about.mkdir(parents=True)
    described = f"Metadata-Version: 2.1\nName: sessions\nVersion: {version('sessions')}\n"
    (about / "METADATA").write_text(described, encoding="utf-8")
    file = folder / "ours.db"
    with Client(file) as client:
        client.ping()
        yield file, os.pathsep.join([environment()["PYTHONPATH"], str(about.parent)])
