"""Measures why two workers take more CPU time for a call than one: each has half of the callers.

Run by hand: `.venv/bin/python -m benchmarks.scale.working`. Prints the CPU time of the server for a durable AddMessage
on PostgreSQL, by the number of workers and of callers.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Final

from benchmarks.ours import Ours
from benchmarks.processes import postgres_url
from benchmarks.rules_calls import costed, ours

ROUNDS: Final = 5
SECONDS: Final = 2.0
SHAPES: Final = ((1, 128), (1, 64), (2, 128))
"""Workers and callers."""


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with postgres_url() as url, ours(url) as one, ours(url, workers=2) as two:
        servers = {1: one, 2: two}
        sessions = {count: servers[count].sessions(128) for count in servers}
        found: dict[tuple[int, int], list[float]] = {shape: [] for shape in SHAPES}
        for _ in range(ROUNDS + 1):
            for workers, callers in SHAPES:
                own = sessions[workers][:callers]
                _add(servers[workers], own, callers, found[workers, callers])
    for (workers, callers), micros in found.items():
        each = statistics.median(micros[1:])  # the first round warms up
        sys.stdout.write(f"{workers} workers, {callers:>3} callers: {each:.0f} µs of CPU time a call\n")


def _add(server: Ours, sessions: list[str], callers: int, micros: list[float]) -> None:
    costed(
        server.process,
        lambda: server.load_adds(sessions, seconds=SECONDS, callers=callers, connections=callers),
        micros,
    )


if __name__ == "__main__":
    main()
