"""Random commits, reads, past reads and forks by many concurrent callers are equivalent to a sequential execution."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from sessions_client import AsyncClient
from tests.faults.linearizability.history import History, Look, State, Write, faults_of
from tests.faults.linearizability.storm import Storm
from tests.support.amounts import amount
from tests.support.figures import show
from tests.support.replicas import running_replicas
from tests.support.server import Server, start_server

if TYPE_CHECKING:
    from tests.support.postgres import Postgres

CALLS: Final = amount("CALLS", 600)
SESSIONS: Final = 3
CALLERS: Final = 16


async def storm(servers: list[Server], capsys: pytest.CaptureFixture[str], *, where: str) -> None:
    clients = [AsyncClient(server.address) for server in servers]
    try:
        sessions = [await clients[0].sessions.create("u") for _ in range(SESSIONS)]
        blown = Storm(clients, sessions, seed=11)
        await blown.blow(CALLS, callers=CALLERS)
        faults = [fault for history in blown.histories.values() for fault in faults_of(history, first=1)]
        assert faults == [], "\n".join(faults)
        expected = Counter(before for before, _ in blown.shared)
        assert max(expected.values(), default=1) == 1, (
            "two writers replaced the same state of a shared record"
        )
        kinds = Counter(
            type(each).__name__
            for history in blown.histories.values()
            for each in (*history.calls, *history.looks_back)
        )
        assert {"Write", "Look", "LookBack"} <= set(kinds)
        show(capsys, f"{where}: {CALLS} calls, {dict(kinds)}, {len(blown.shared)} shared, no violation")
    finally:
        for client in clients:
            await client.close()


async def test_callers_of_one_server_see_one_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_server(tmp_path) as server:
        await storm([server], capsys, where="SQLite")


async def test_callers_of_two_replicas_see_one_order(
    tmp_path: Path, postgres_server: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    url = postgres_server.url(await postgres_server.fresh_database())
    env = {"SESSIONS_ALLOW_UNSAFE_DURABILITY": "true"}  # no test cuts the power
    replicas = running_replicas(tmp_path, count=2, database_url=url, env=env)
    servers = await asyncio.to_thread(replicas.__enter__)
    try:
        await storm(servers, capsys, where="PostgreSQL, two replicas")
    finally:
        await asyncio.to_thread(replicas.__exit__, None, None, None)


ONE = State({}, {}, ("a",), {})
APPEND = (("append", "a", None),)
NOTHING = (("delete", "k", None),)


@pytest.mark.parametrize(
    ("calls", "fault"),
    [
        ([Write(1, 2, APPEND, 2, ONE), Look(3, 4, 2, ONE)], ""),
        ([Write(1, 2, NOTHING, 2, ONE), Write(1, 2, APPEND, 2, ONE)], ""),
        ([Write(1, 2, NOTHING, 3, ONE), Write(1, 2, APPEND, 2, ONE)], "a write left"),
        ([Write(1, 2, APPEND, 3, ONE)], "a write left"),
        ([Write(1, 2, APPEND, 2, State({}, {}, (), {}))], "a write left"),
        ([Write(1, 2, APPEND, 2, ONE), Look(3, 4, 1, State({}, {}, (), {}))], "began after"),
        ([Write(1, 2, APPEND, 2, ONE), Look(1, 4, 1, ONE)], "a read saw"),
        ([Write(1, 2, APPEND, 2, ONE), Look(1, 4, 1, State({}, {}, (), {}))], ""),
    ],
    ids=[
        "sound",
        "a write that changed nothing",
        "an event of nothing",
        "a hole",
        "a lost message",
        "a stale read",
        "a read of the future",
        "a read beside the write",
    ],
)
def test_the_checker_detects_impossible_histories(calls: list[Write | Look], fault: str) -> None:
    found = faults_of(History(calls), first=1)
    assert bool(found) == bool(fault)
    assert all(fault in each for each in found)
