"""Measures two workers behind one address relative to a single one, on one PostgreSQL."""

from __future__ import annotations

import statistics
import time
from typing import Final

import psutil

from benchmarks.load import CALLERS as CALLERS_EACH
from benchmarks.ours import Ours
from benchmarks.plan import Plan
from benchmarks.processes import postgres_url
from benchmarks.report import Finding, Rounds, alternate
from benchmarks.rules_calls import costed, ours

CALLERS: Final = 2 * CALLERS_EACH
"""As many per worker as in the other measurements, so that a transaction has as many commits."""

TO_SPARE: Final = 1.0
"""How many cores must be idle with one worker under load, so that a second one can be faster."""


def workers(plan: Plan) -> list[Finding]:
    """Durable adds on PostgreSQL by two workers, relative to one."""
    idle: list[float] = []
    cost = Rounds()
    with postgres_url() as url, ours(url) as one, ours(url, workers=2) as two:
        sessions = {server: server.sessions(CALLERS) for server in (one, two)}

        def adds(server: Ours, micros: list[float]) -> float:
            # Linux distributes connections over workers, so each caller has its own, like separate programs.
            return costed(
                server.process,
                lambda: server.load_adds(sessions[server], seconds=plan.seconds, connections=CALLERS),
                micros,
            )

        def alone() -> float:
            began, before = time.perf_counter(), psutil.cpu_times().idle
            rate = adds(one, cost.first)
            idle.append((psutil.cpu_times().idle - before) / (time.perf_counter() - began))
            return rate

        alternate(lambda: adds(one, []), lambda: adds(two, []), rounds=1)
        rates = alternate(alone, lambda: adds(two, cost.second), rounds=plan.rounds)
    numbers = {
        "one worker in calls/s": rates.first,
        "two workers in calls/s": rates.second,
        "one worker's CPU in µs a call": cost.first,
        "two workers' CPU in µs a call": cost.second,
        "cores that were idle beside one worker": idle,
    }
    return [_rate(rates, statistics.median(idle), numbers), _cost(cost)]


def _rate(rates: Rounds, idle: float, numbers: dict[str, list[float]]) -> Finding:
    what = f"durable AddMessage on PostgreSQL, {CALLERS} callers on as many connections, 2 workers beside 1"
    if idle < TO_SPARE:
        what += f"; 1.5 is asked where a core is idle beside one worker, and here {idle:.1f} were"
    asked = 1.5 if idle >= TO_SPARE else 1.0
    return Finding("workers", what, asked, rates.ratio, at_least=True, numbers=numbers)


def _cost(cost: Rounds) -> Finding:
    what = "CPU time of the server for such a call, 2 workers beside 1"
    return Finding("workers_cost", what, 1.0, cost.ratio, at_least=False)
