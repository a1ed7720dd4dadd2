"""Measures one page of each kind of list and search among few and among many sessions.

Run by hand: `.venv/bin/python -m benchmarks.scale.searches --sessions 10000 200000`, with `--postgres` on PostgreSQL,
and with `--tree` with the server of another checkout. Half of the sessions belong to one user; in some databases half
have expired without that being recorded yet. The figures are the CPU time of the server's process per call, and the
call's duration, in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc

from benchmarks.copies import Copy, copy_sessions, copy_sessions_in_postgres
from benchmarks.ours import Ours, connected
from benchmarks.processes import ROOT, postgres_url, program, scratch, sqlite_url
from sessions_proto.v1 import sessions_pb2 as pb

PAGE: Final = 20
CALLS: Final = 7
TIMEOUT_SECONDS: Final = 300
APART_MICROS: Final = 1_000

USER: Final = "half"
QUERIES: Final[dict[str, dict[str, Any]]] = {
    "a list": {},
    "a frequent term, by create_time": {"metadata_filter": {"device": "web"}},
    "a frequent term, the oldest first": {"metadata_filter": {"device": "web"}, "order_by": "create_time"},
    "a frequent term, by update_time": {
        "metadata_filter": {"device": "web"},
        "order_by": "update_time desc",
    },
    "two frequent terms that never meet": {"metadata_filter": {"device": "web", "n": -1}},
    "$ne that matches nothing": {"metadata_filter": {"on": {"$ne": True}}},
    "$contains of an object that is nowhere": {"metadata_filter": {"tags": {"$contains": [{"x": 3}]}}},
    "$contains of 100 objects": {
        "metadata_filter": {"tags": {"$contains": [{"x": number} for number in range(100)]}}
    },
    "a frequent term of a user with half of all": {"metadata_filter": {"device": "ios"}, "user_id": USER},
}
WHILE_EXPIRING: Final[dict[str, dict[str, Any]]] = {
    "a list while half expire": {},
    "expired ones while half expire": {"states": [pb.SESSION_STATE_EXPIRED]},
    "one user's only session while half expire": {"user_id": "alone"},
}


class Cost(NamedTuple):
    cpu_ms: float
    wall_ms: float
    found: int


def patterns(server: Ours, *, timeout: bool) -> list[str]:
    """The ids of sessions to copy in turn."""
    made = []
    for number, (user, device) in enumerate([(USER, "web"), ("rest", "ios"), (USER, "ios"), ("rest", "tv")]):
        request = pb.CreateSessionRequest(user_id=user)
        tags: list[Any] = ["a", {"x": 1}, {"x": 2, "y": "z"}]
        request.metadata.update({"device": device, "n": -number, "on": True, "tags": tags})
        if timeout and user == USER:
            request.config.timeout.FromSeconds(1)
        made.append(server.stub.CreateSession(request).session.id)
    alone = pb.CreateSessionRequest(user_id="alone")
    alone.metadata.update({"on": True})
    if timeout:
        alone.config.timeout.FromSeconds(1)
    server.stub.CreateSession(alone)
    return made


@contextmanager
def serving(folder: Path, url: str, tree: Path) -> Iterator[Ours]:
    """Without a sweep, so that expiries are not recorded meanwhile."""
    arguments = ["--listen", "127.0.0.1:0", "--database-url", url, "--sweep-interval", "86400"]
    with (
        program(["sessions_server", "serve", *arguments], log=folder / "server.log", root=tree) as process,
        connected(process) as server,
    ):
        yield server


def fill(folder: Path, url: str, tree: Path, sessions: int, *, timeout: bool) -> None:
    with serving(folder, url, tree) as server:
        made = patterns(server, timeout=timeout)
    copies = (
        Copy(f"copy-{number:09}", made[number % len(made)], (number - sessions) * APART_MICROS)
        for number in range(sessions)
    )
    if url.startswith("postgresql"):
        asyncio.run(copy_sessions_in_postgres(url.replace("+asyncpg", ""), copies))
        return
    with closing(sqlite3.connect(folder / "sessions.db")) as database:
        database.execute("PRAGMA synchronous = OFF")
        copy_sessions(database, copies)
        database.commit()


def cost(server: Ours, asked: dict[str, Any]) -> Cost | None:
    """None if a page took too long."""
    method: Any = server.stub.SearchSessions if "metadata_filter" in asked else server.stub.ListSessions
    kind: Any = pb.SearchSessionsRequest if "metadata_filter" in asked else pb.ListSessionsRequest
    request, seconds = kind(page_size=PAGE, **asked), []
    try:
        method(request, timeout=TIMEOUT_SECONDS)
        before = server.process.cpu_seconds()
        for _ in range(CALLS):
            began = time.perf_counter()
            page = method(request, timeout=TIMEOUT_SECONDS)
            seconds.append(time.perf_counter() - began)
    except grpc.RpcError:
        return None
    cpu = (server.process.cpu_seconds() - before) / CALLS
    return Cost(cpu * 1e3, statistics.median(seconds) * 1e3, len(page.sessions))


def measure(tree: Path, sessions: int, *, postgres: bool) -> dict[str, Cost | None]:
    found = {}
    for queries, timeout in ((QUERIES, False), (WHILE_EXPIRING, True)):
        with scratch() as folder, postgres_url() if postgres else nullcontext("") as given:
            url = given or sqlite_url(folder / "sessions.db")
            fill(folder, url, tree, sessions, timeout=timeout)
            time.sleep(1)  # until the copies have expired
            with serving(folder, url, tree) as server:
                found.update({what: cost(server, asked) for what, asked in queries.items()})
    return found


def show(cost: Cost | None) -> str:
    return "fails" if cost is None else f"{cost.cpu_ms:8.1f} {cost.wall_ms:9.1f} {cost.found:6}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[10_000, 200_000])
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout whose server is measured")
    given = parser.parse_args()
    columns = [measure(given.tree, sessions, postgres=given.postgres) for sessions in given.sessions]
    heads = "".join(f"{sessions:>15,} sessions" for sessions in given.sessions)
    lines = [" " * 46 + heads, " " * 46 + "  cpu ms   wall ms  found" * len(columns)]
    lines += [f"{what:46}" + " ".join(show(column[what]) for column in columns) for what in columns[0]]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
