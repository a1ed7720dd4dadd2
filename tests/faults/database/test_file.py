"""A faulty SQLite file: locked, removed, replaced, or out of space. Health reports it by name."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sessions_client import AsyncClient
from sessions_server.domain.errors import StorageFull, Unavailable
from sessions_server.domain.limits import Limits
from sessions_server.security.encryption import open_cells
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.sqlite.backend import SqliteBackend
from sessions_server.storage.store import open_store
from tests.conformance.harness import Harness, add, create
from tests.support.clock import HandClock
from tests.support.server import sqlite_url, start_server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def backend(tmp_path: Path) -> SqliteBackend:
    return SqliteBackend(tmp_path / "sessions.db")


@pytest.fixture
async def bench(backend: SqliteBackend) -> AsyncIterator[Harness]:
    clock = HandClock()
    store = open_store(backend, cells=open_cells(None), limits=Limits(), options=RunOptions(clock=clock))
    await store.start()
    bench = Harness(store, clock)
    await bench.do(create())
    yield bench
    await store.close()


async def said(bench: Harness, backend: SqliteBackend) -> str | None:
    with pytest.raises((Unavailable, StorageFull)) as refusal:
        await bench.store.ping()
    return backend.explain(refusal.value)


async def test_a_file_locked_by_another_program_cannot_be_written(
    bench: Harness, backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_server.storage.sqlite.runner._PING_LOCK_SECONDS", 0.01)
    await bench.store.ping()
    assert backend.path is not None
    with closing(sqlite3.connect(backend.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await said(bench, backend) == (
            f"{backend.path} is in use by another program; close that one, or name another file in "
            "SESSIONS_DATABASE_URL."
        )
    await bench.store.ping()


async def test_nothing_is_written_to_a_removed_file(bench: Harness, backend: SqliteBackend) -> None:
    assert backend.path is not None
    kept = backend.path.rename(backend.path.with_name("kept"))
    assert await said(bench, backend) == (
        f"{backend.path} was removed; stop the server, and restore it from a backup."
    )
    with pytest.raises(Unavailable):
        await bench.do(add("lost"))
    kept.rename(backend.path)
    await bench.store.ping()
    assert await bench.contents() == []


async def test_nothing_is_written_to_a_replaced_file(bench: Harness, backend: SqliteBackend) -> None:
    assert backend.path is not None
    kept = backend.path.rename(backend.path.with_name("kept"))
    shutil.copy(kept, backend.path)
    assert await said(bench, backend) == (
        f"{backend.path} was replaced by another file; restart the server to use that one."
    )
    with pytest.raises(Unavailable):
        await bench.do(add("lost"))
    kept.rename(backend.path)
    await bench.store.ping()


async def test_after_a_failed_write_health_tries_another(
    bench: Harness, backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a file that cannot grow, as with a quota, although the disk has space."""
    limited = "PRAGMA max_page_count"
    runner = bench.store._runner
    [[pages]] = await runner.write(lambda connection: list(connection.exec_driver_sql("PRAGMA page_count")))
    await runner.write(lambda connection: connection.exec_driver_sql(f"{limited} = {pages}").fetchall())
    with pytest.raises(StorageFull):
        await bench.do(add("x" * 100_000))
    await bench.store.ping()
    with pytest.raises(StorageFull):
        await bench.do(add("y" * 100_000))
    await runner.write(lambda connection: connection.exec_driver_sql(f"{limited} = 1000000").fetchall())
    await bench.do(add("z" * 100_000))
    await bench.store.ping()


async def test_health_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    env = {"SESSIONS_DATABASE_URL": sqlite_url(tmp_path)}
    with start_server(tmp_path, env=env) as server:
        async with (
            AsyncClient(server.address) as client,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            session = await client.sessions.create("u")
            health: Any = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == SERVING
            kept = path.rename(tmp_path / "kept")
            assert (await watch.read()).status == NOT_SERVING
            kept.rename(path)
            assert (await watch.read()).status == SERVING
            await client.sessions.add_message(session.id, role="user", content="kept")
            watch.cancel()
    assert f"{path} was removed; stop the server" in server.log
