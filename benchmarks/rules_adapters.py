"""Measures the adapters for agent frameworks beside the frameworks' own stores, which pay for no network.

Both sides run in one process in the framework's environment, in turn.
"""

from __future__ import annotations

import statistics
from typing import Final

from benchmarks.environments import python_of
from benchmarks.plan import Plan
from benchmarks.processes import ROOT, measured_in_child, scratch
from benchmarks.report import Finding
from benchmarks.rules_calls import ours

ENVIRONMENTS: Final = ROOT / ".cache" / "integrations"
PINS: Final = ROOT / "tests" / "integrations"
REPEATS: Final = 10


def adapters(plan: Plan) -> list[Finding]:
    """Adapters of agent frameworks, at 1,000 items, relative to the frameworks' own stores."""
    openai = _milliseconds(plan, "openai_agents")
    adk = _milliseconds(plan, "google_adk")
    langgraph = _milliseconds(plan, "langgraph")
    return [
        _faster("adapter_openai_append", openai, "SQLAlchemySession.add_items, 16 callers"),
        _faster("adapter_adk_append", adk, "DatabaseSessionService.append_event, one caller"),
        Finding(
            "adapter_adk_list",
            "list_sessions of 1,000 through our adapter beside DatabaseSessionService",
            8,
            _ratio(adk, "our list", "own list"),
            at_least=False,
            numbers=_numbers(adk),
        ),
        Finding(
            "adapter_get_tuple_growth",
            "get_tuple at 1,000 checkpoints beside the same at 10",
            1.2,
            _ratio(langgraph, "our get", "our get of few"),
            at_least=False,
            numbers=_numbers(langgraph),
        ),
        Finding(
            "adapter_get_tuple",
            "get_tuple at 1,000 checkpoints, which is one call, beside GetSession",
            2.5,
            _ratio(langgraph, "our get", "GetSession"),
            at_least=False,
            numbers=_numbers(langgraph),
        ),
    ]


def _faster(name: str, found: dict[str, list[float]], theirs: str) -> Finding:
    what = f"appends at 1,000 items through our adapter beside {theirs}"
    ratio = _ratio(found, "own append", "our append")
    return Finding(name, what, 2, ratio, at_least=True, numbers=_numbers(found))


def _ratio(found: dict[str, list[float]], one: str, other: str) -> float:
    return statistics.median(first / second for first, second in zip(found[one], found[other], strict=True))


def _numbers(found: dict[str, list[float]]) -> dict[str, object]:
    return {**found, "unit": "ms"}


def _milliseconds(plan: Plan, framework: str) -> dict[str, list[float]]:
    """The median of each operation in each round."""
    python = python_of(ENVIRONMENTS / framework, PINS / f"{framework}.txt")
    with ours() as server, scratch() as folder:
        found: dict[str, list[float]] = measured_in_child(
            f"benchmarks.peers.beside_{framework}",
            *(folder, server.address, plan.rounds, REPEATS),
            what=f"The adapter for {framework}",
            python=python,
        )
    return found
