"""Estimates how many servers, databases and connections a number of active sessions needs.

Invariant: every number in the result follows from an option, a default setting, or a measurement by `make bench`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final, NamedTuple

from sessions_server.settings import Settings
from sessions_server.storage.lane import SEARCHES

RESULTS: Final = Path(__file__).resolve().parent / "results.json"

WAKEUP_CONNECTIONS: Final = 2
"""In addition to its pool, a replica has one connection that listens and one that notifies."""

HEALTH_CONNECTIONS: Final = 1
"""And one that checks whether the database accepts writes."""


@dataclass(frozen=True, slots=True)
class Demand:
    sessions: int
    messages: float
    """Per session and minute."""
    reads: float
    """Reads of a session's history per minute."""
    watchers: float
    """Open subscriptions per session."""
    busy: float
    """The fraction of the measured rates to plan with. The rest is for peaks, and for replicas being replaced."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The performance of one server with everything it needs on the same machine."""

    cores: int
    adds: float
    reads: float
    deliveries: float
    base_bytes: float
    watcher_bytes: float

    @classmethod
    def load(cls, path: Path) -> Measured:
        """Exits with advice if a measurement is missing."""
        if not path.exists():
            sys.exit(f"There is no {path.name}; run `make bench`.")
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        numbers, memory = (
            results["numbers"],
            [each for each in results["figures"] if each["name"] == "memory"],
        )
        needed = ("add_message_postgres", "get_history", "fan_out", "memory")
        if missing := [name for name in needed if name not in numbers]:
            sys.exit(f"{path.name} has no {', '.join(missing)}; run `make bench`.")
        return cls(
            cores=results["machine"]["cores"],
            adds=statistics.median(numbers["add_message_postgres"]["ours in calls/s"]),
            reads=statistics.median(numbers["get_history"]["ours in calls/s"]),
            deliveries=statistics.median(numbers["fan_out"]["ours in events/s"]),
            base_bytes=numbers["memory"]["resident bytes before"],
            watcher_bytes=memory[0]["measured"] * 1_000,
        )


class Row(NamedTuple):
    what: str
    value: str
    why: str


def rows(demand: Demand, measured: Measured, settings: Settings) -> Iterator[Row]:
    adds = demand.sessions * demand.messages / 60
    reads = demand.sessions * demand.reads / 60
    watchers = demand.sessions * demand.watchers
    deliveries = adds * demand.watchers
    shares = adds / measured.adds + reads / measured.reads + deliveries / measured.deliveries
    for_calls = ceil(shares / demand.busy)
    for_streams = ceil(watchers / settings.max_streams)
    databases = ceil(adds / measured.adds / demand.busy)
    each = ceil(max(for_calls, for_streams) / databases)
    replicas = each * databases
    memory = measured.base_bytes + watchers / replicas * measured.watcher_bytes
    yield Row("messages added per second", _count(adds), "sessions x messages / 60")
    yield Row("histories read per second", _count(reads), "sessions x reads / 60")
    yield Row("events delivered per second", _count(deliveries), "messages added x watchers")
    yield Row("one server adds per second", _count(measured.adds), "add_message_postgres, measured")
    yield Row("one server reads per second", _count(measured.reads), "get_history, measured")
    yield Row("one server delivers per second", _count(measured.deliveries), "fan_out, measured")
    yield Row("one server takes in kB", _count(measured.base_bytes / 1e3), "memory, measured")
    yield Row("a watcher takes in bytes", _count(measured.watcher_bytes), "memory, measured")
    yield Row("replicas for the calls", _count(for_calls), "the sum of demand / measured, over the busy part")
    yield Row(
        "replicas for the streams", _count(for_streams), f"watchers / {settings.max_streams} (max_streams)"
    )
    yield Row("databases", _count(databases), "messages added / measured, over the busy part")
    yield Row("replicas of each database", _count(each), "the larger number of replicas, spread evenly")
    yield Row("replicas in all", _count(replicas), "databases x replicas of each")
    yield Row(
        "connections to each database",
        _count(each * (settings.pool_size + SEARCHES + HEALTH_CONNECTIONS + WAKEUP_CONNECTIONS)),
        f"replicas of each x ({settings.pool_size} of the pool + {SEARCHES} for searches + "
        f"{HEALTH_CONNECTIONS} for health + {WAKEUP_CONNECTIONS} for wake-ups)",
    )
    yield Row(
        "memory of a replica in MB", _count(memory / 1e6), "what a server takes, and each of its watchers"
    )


def _count(value: float) -> str:
    return f"{round(value):,}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=1_000_000, help="active sessions")
    parser.add_argument("--messages", type=float, default=2, help="messages of a session in a minute")
    parser.add_argument("--reads", type=float, default=1, help="reads of a session's history in a minute")
    parser.add_argument("--watchers", type=float, default=1, help="open subscriptions of a session")
    parser.add_argument(
        "--busy", type=float, default=0.5, help="which part of the measured rates to plan with"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="what `make bench` has written")
    return parser.parse_args()


def main() -> None:
    options = parse()
    demand = Demand(options.sessions, options.messages, options.reads, options.watchers, options.busy)
    measured = Measured.load(options.results)
    lines = list(rows(demand, measured, Settings()))
    first, second = (max(len(row[column]) for row in lines) for column in (0, 1))
    sys.stdout.write(
        f"{demand.sessions:,} active sessions, on machines of {measured.cores} cores like the measured one\n"
    )
    for what, value, why in lines:
        sys.stdout.write(f"{what:<{first}}  {value:>{second}}  {why}\n")


if __name__ == "__main__":
    main()
