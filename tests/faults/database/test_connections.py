"""Faulty PostgreSQL connections: they allow no writes, their plans no longer fit, or a pooler mixes them up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import Unavailable
from sessions_server.domain.limits import Limits
from sessions_server.security.encryption import open_cells
from sessions_server.storage.backend import Backend, RunOptions
from sessions_server.storage.databases import opening, parse_url
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.store import Store, open_store
from tests.conformance.harness import KEY, Harness, add, create
from tests.faults.durability.load import stub_of
from tests.support.clock import HandClock
from tests.support.pgbouncer import running_pgbouncer
from tests.support.ports import HOST
from tests.support.postgres import Postgres
from tests.support.server import start_server


@asynccontextmanager
async def running(backend: Backend) -> AsyncIterator[Store]:
    store = open_store(
        backend, cells=open_cells(None), limits=Limits(), options=RunOptions(allow_unsafe=True)
    )
    try:
        with opening(backend):
            await store.start()
        yield store
    finally:
        await store.close()


@pytest.fixture
async def name(postgres_server: Postgres) -> str:
    return await postgres_server.fresh_database()


@pytest.fixture
async def bench(postgres_server: Postgres, name: str) -> AsyncIterator[Harness]:
    async with running(parse_url(postgres_server.url(name))) as store:
        bench = Harness(store, HandClock())
        await bench.do(create())
        yield bench


async def cut_all(postgres: Postgres, name: str) -> None:
    await postgres.execute(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
    )


async def test_read_only_connections_are_replaced(
    postgres_server: Postgres, name: str, bench: Harness
) -> None:
    await postgres_server.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await cut_all(postgres_server, name)
    with pytest.raises(Unavailable) as refusal:
        await bench.store.ping()
    with pytest.raises(Unavailable):
        await bench.do(add("refused"))
    assert await bench.contents() == [], "the rows can still be read"
    sentence = parse_url(postgres_server.url(name)).explain(refusal.value)
    assert sentence is not None
    assert sentence.endswith("takes no writes; name the primary in SESSIONS_DATABASE_URL.")

    await postgres_server.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    await bench.do(add("taken"))
    await bench.store.ping()
    assert await bench.contents() == ["taken"]


async def test_stale_prepared_statements_are_prepared_again(
    postgres_server: Postgres, name: str, bench: Harness
) -> None:
    await bench.do(add("before"))
    assert await bench.contents() == ["before"]
    await postgres_server.execute("ALTER TABLE sessions ALTER user_id TYPE varchar(1000)", database=name)
    await postgres_server.execute("ALTER TABLE log ALTER message_id TYPE varchar(1000)", database=name)
    assert await bench.contents() == ["before"]
    await bench.do(add("after"))
    assert (await bench.store.session(KEY)).message_count == 2


async def test_a_ping_detects_a_silent_database_within_its_timeout(
    monkeypatch: pytest.MonkeyPatch, postgres_server: Postgres, bench: Harness
) -> None:
    await bench.store.ping()
    monkeypatch.setattr("sessions_server.storage.postgres.runner._PING_SECONDS", 0.1)
    monkeypatch.setattr("sessions_server.storage.postgres.hosts.HOST_SECONDS", 0.1)
    with postgres_server.silent(), pytest.raises(Unavailable):
        await bench.store.ping()
    monkeypatch.undo()
    await bench.store.ping()


async def test_a_ping_gets_a_connection_while_all_others_are_busy(
    postgres_server: Postgres, name: str
) -> None:
    backend = parse_url(postgres_server.url(name))
    options = RunOptions(allow_unsafe=True, pool_size=1)
    store = open_store(backend, cells=open_cells(None), limits=Limits(), options=options)
    await store.start()
    await store.transact(lambda _: None)

    async def ping_meanwhile() -> None:
        await store.ping()

    runner = store._runner
    async with runner._connected(runner._single):  # type: ignore[attr-defined]  # the PostgreSQL store's own
        await ping_meanwhile()
    await store.close()


SENTENCE = (
    "A pooler in transaction mode is in front of PostgreSQL, and mixes up what this server prepares on its "
    "connections; set pool_mode = session, or give PostgreSQL's own address in SESSIONS_DATABASE_URL."
)


async def test_a_pooler_in_transaction_mode_is_named_in_one_line_and_health_says_so(
    tmp_path: Path, postgres_server: Postgres, name: str
) -> None:
    with running_pgbouncer(postgres_server, mode="transaction") as pgbouncer:
        env = {
            "SESSIONS_DATABASE_URL": postgres_server.url(name, port=pgbouncer.port),
            "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true",
        }
        with start_server(tmp_path, env=env) as server:
            async with stub_of(server) as stub, grpc.aio.insecure_channel(server.address) as channel:
                while True:
                    try:
                        await stub.CreateSession(pb.CreateSessionRequest(user_id="u"))
                    except grpc.aio.AioRpcError as error:
                        assert error.code() is grpc.StatusCode.UNAVAILABLE, error  # noqa: PT017  # the call succeeds at times
                        break
                health: Any = health_pb2_grpc.HealthStub(channel)
                async for answer in health.Watch(health_pb2.HealthCheckRequest()):
                    if answer.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                        break
        assert server.log.count(SENTENCE) == 1
        assert "Traceback" not in server.log


async def test_a_database_without_utf_8_is_refused(postgres_server: Postgres) -> None:
    await postgres_server.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreRefused) as refusal:
        async with running(parse_url(postgres_server.url("latin"))):
            pass
    assert str(refusal.value) == (
        "The database's encoding is LATIN1, which cannot represent every string; create one with "
        "ENCODING 'UTF8' TEMPLATE "
        "template0, and name it in SESSIONS_DATABASE_URL."
    )


@pytest.mark.parametrize("lacking", ["INSERT", "UPDATE", "DELETE"])
async def test_a_role_without_write_access_is_refused(
    postgres_server: Postgres, name: str, bench: Harness, lacking: str
) -> None:
    role = f"reader_{lacking.lower()}"
    await postgres_server.execute(f"CREATE ROLE {role} LOGIN")
    rights = {"SELECT", "INSERT", "UPDATE", "DELETE"} - {lacking}
    for right in rights:
        await postgres_server.execute(
            f"GRANT {right} ON ALL TABLES IN SCHEMA public TO {role}", database=name
        )
    await postgres_server.execute(f"GRANT {lacking} ON log TO {role}", database=name)
    url = f"postgresql+asyncpg://{role}@{HOST}:{postgres_server.port}/{name}"
    with pytest.raises(StoreRefused) as refusal:
        async with running(parse_url(url)):
            pass
    said = str(refusal.value)
    assert said.startswith(f"The role {role} may not write to ")
    assert " contexts," in said
    assert " log," not in said
    assert said.endswith(
        "docs/postgresql.md says under Roles, or name another role in SESSIONS_DATABASE_URL."
    )


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
async def test_common_forms_of_postgresql_urls_are_accepted(
    postgres_server: Postgres, name: str, scheme: str
) -> None:
    url = f"{scheme}://postgres@{HOST}:{postgres_server.port}/{name}?sslmode=prefer"
    async with running(parse_url(url)) as store:
        await store.ping()
    with pytest.raises(
        StoreRefused, match=r"offers no TLS; switch it on there, or leave sslmode out of SESS"
    ):
        async with running(parse_url(url.replace("prefer", "require"))):
            pass
