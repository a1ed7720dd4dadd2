"""A primary and its standby under two replicas whose URL names both: every way in which the standby takes over."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from sessions_server.domain.errors import SessionNotFound, Unavailable
from sessions_server.domain.limits import Limits
from sessions_server.security.encryption import open_cells
from sessions_server.storage.backend import Backend
from sessions_server.storage.databases import parse_url
from sessions_server.storage.postgres import runner
from sessions_server.storage.store import Store, open_store
from tests.conformance.harness import KEY, Harness, create
from tests.faults.failover.load import Load, Verdict, running_load
from tests.support.clock import HandClock
from tests.support.figures import show
from tests.support.ports import HOST
from tests.support.postgres import ROLE, Postgres, running_postgres
from tests.support.replicas import running_replicas

WRITES = 40
"""Before and after each failover."""


@dataclass
class Pair:
    """Two servers, either of which may be the primary."""

    primary: Postgres
    standby: Postgres

    @property
    def url(self) -> str:
        hosts = "&".join(f"host={HOST}:{each.port}" for each in (self.primary, self.standby))
        return f"postgresql+asyncpg://{ROLE}@/sessions?{hosts}&target_session_attrs=read-write"

    async def begin(self, *, synchronous: bool) -> None:
        """Starts with a standby that is in sync with the primary."""
        await asyncio.to_thread(self.standby.start_anew_as_standby_of, self.primary)
        await self.wait_for_standby(self.primary, synchronous)

    async def wait_for_standby(self, primary: Postgres, wanted: bool) -> None:
        names = "*" if wanted else ""
        await primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        await primary.execute("SELECT pg_reload_conf()")

    async def promote(self) -> None:
        """Promotes the standby. It has no standby itself, so it must not wait for one."""
        await self.standby.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        await asyncio.to_thread(self.standby.promote)
        self.primary, self.standby = self.standby, self.primary


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_postgres(durable=True) as primary:
        asyncio.run(primary.execute("CREATE DATABASE sessions"))
        with running_postgres(durable=True, standby_of=primary) as standby:
            yield Pair(primary, standby)


@pytest.fixture(scope="module")
def addresses(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The addresses of two replicas that run through all failovers."""
    with running_replicas(
        tmp_path_factory.mktemp("replicas"),
        count=2,
        database_url=pair.url,
        program=["-m", "tests.faults.failover.quick_server"],
    ) as servers:
        pids = [server.pid for server in servers]
        yield [server.address for server in servers]
        assert [server.pid for server in servers] == pids


async def test_a_planned_switchover_loses_nothing_and_no_stream_notices(
    pair: Pair, addresses: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    await pair.begin(synchronous=False)
    async with running_load(addresses, "planned") as load:
        await load.more(WRITES)
        await asyncio.to_thread(pair.primary.stop)
        await pair.promote()
        await asyncio.to_thread(pair.standby.become_standby_of, pair.primary)
        await load.more(WRITES)
    report(capsys, "a planned switchover", load)
    assert load.verdict == Verdict(lost=0, holes=0, notified=0)


async def test_a_primary_that_hangs_and_returns_loses_nothing(
    pair: Pair, addresses: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The standby was synchronous. The returning server still considers itself the primary and accepts writes."""
    await pair.begin(synchronous=True)
    url = pair.url  # names the host that falls silent first
    async with running_load(addresses, "silent") as load:
        await load.more(WRITES)
        with pair.primary.silent():
            await pair.promote()
            await load.more(WRITES)
            async with running_store(url) as started_meanwhile:
                await started_meanwhile.heads([KEY])
        await pair.wait_for_standby(pair.standby, False)
        before = await messages_in(pair.standby)
        for _ in range(2):
            await cut_all(pair.primary)
            await load.more(WRITES)
        assert await messages_in(pair.standby) == before, "the old primary was written to"
    report(capsys, "a primary that falls silent and comes back, its standby synchronous", load)
    assert load.verdict == Verdict(lost=0, holes=0, notified=0)


async def test_killing_a_primary_with_a_synchronous_standby_loses_nothing(
    pair: Pair, addresses: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    await pair.begin(synchronous=True)
    async with running_load(addresses, "killed") as load:
        await load.more(WRITES)
        await asyncio.to_thread(pair.primary.kill)
        await pair.promote()
        await load.more(WRITES)
    report(capsys, "a primary that is killed, its standby synchronous", load)
    assert load.verdict == Verdict(lost=0, holes=0, notified=0)


async def test_streams_learn_which_events_an_asynchronous_standby_lost(
    pair: Pair, addresses: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    await pair.begin(synchronous=False)
    async with running_load(addresses, "asynchronous") as load:
        await load.more(WRITES)
        await pair.standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
        await pair.standby.execute("SELECT pg_reload_conf()")
        await until_none(pair.standby, "pg_stat_wal_receiver WHERE status = 'streaming'")
        await load.more(WRITES)
        await load.seen_by_all()
        await asyncio.to_thread(pair.primary.kill)
        await pair.promote()
        await load.more(2 * WRITES)
    report(capsys, "a primary that is killed, its standby asynchronous", load)
    assert load.verdict is not None
    assert load.verdict.lost > 0, "no write was lost, so there is nothing to report"
    assert load.verdict.holes == 0
    assert load.verdict.notified == len(load.followers)


async def test_an_old_primary_that_keeps_running_is_abandoned(
    pair: Pair, addresses: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It was not fenced, so it accepts writes until the replicas have seen the new primary."""
    await pair.begin(synchronous=False)
    async with running_load(addresses, "old") as load:
        await load.more(WRITES)
        await pair.promote()
        await until_none(pair.standby, "pg_stat_activity WHERE application_name = 'sessions-server'")
        before = await messages_in(pair.standby)
        await load.more(WRITES)
        assert await messages_in(pair.standby) == before
    report(capsys, "a primary that keeps running after a promotion", load)
    assert load.verdict is not None
    assert load.verdict.holes == 0


async def test_a_commit_waiting_for_a_standby_is_not_abandoned_and_health_reports_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_server.storage.postgres.runner._COMMAND_SECONDS", 0.1)
    monkeypatch.setitem(runner._SESSION_SETTINGS, "statement_timeout", "100ms")
    monkeypatch.setattr("sessions_server.storage.postgres.runner._LONG_COMMIT_SECONDS", 0.5)
    await pair.begin(synchronous=True)
    async with running_store(pair.url) as store:
        bench = Harness(store, HandClock())
        await store.ping()
        await asyncio.to_thread(pair.standby.stop)
        writing = asyncio.create_task(bench.do(create()))
        said = await until_refused(store.ping)
        assert said.startswith("PostgreSQL at {place} has not finished a COMMIT for ")
        assert said.endswith(
            "start the synchronous standby that it waits for, or take it out of synchronous_standby_names."
        )
        assert not writing.done()
        with pytest.raises(SessionNotFound):
            await store.session(KEY)
        await asyncio.to_thread(pair.standby.start)
        await writing
        await store.ping()
        assert (await store.session(KEY)).last_sequence == 1


async def test_writes_wait_for_the_disk_whatever_the_promoted_standbys_settings(pair: Pair) -> None:
    await pair.primary.execute("ALTER SYSTEM SET synchronous_commit = off")
    await pair.primary.execute("SELECT pg_reload_conf()")
    backend = parse_url(pair.url)
    async with running_store(pair.url) as store:
        show_it = "SHOW synchronous_commit"
        rows = await store._runner.read(lambda each: each.exec_driver_sql(show_it).all(), snapshot=False)
        assert rows == [("on",)]
        for setting in ("fsync", "full_page_writes"):
            await pair.primary.execute(f"ALTER SYSTEM SET {setting} = off")
            await pair.primary.execute("SELECT pg_reload_conf()")
            await cut_all(pair.primary)
            assert await refusal_of(store, backend) == (
                f"PostgreSQL's {setting} is off, so it may lose what this server has acknowledged; turn it on."
            )
            await pair.primary.execute("ALTER SYSTEM RESET ALL")
            await pair.primary.execute("SELECT pg_reload_conf()")


async def test_a_primary_of_an_older_timeline_and_another_cluster_are_refused_by_name(pair: Pair) -> None:
    await pair.begin(synchronous=False)
    backend = parse_url(pair.url)
    async with running_store(pair.url) as store:
        await store.heads([KEY])
        await pair.promote()
        await asyncio.to_thread(pair.standby.stop)
        await store.heads([KEY])
        await asyncio.to_thread(pair.primary.stop)
        await asyncio.to_thread(pair.standby.start)
        said = re.sub(r"timeline \d+", "timeline N", await refusal_of(store, backend))
        assert said == (
            f"PostgreSQL at {HOST}:{pair.standby.port} is a primary on timeline N, and a standby was promoted to "
            "timeline N since; stop the old primary, and make it a standby of the new one."
        )
        await asyncio.to_thread(pair.standby.start_anew_as_standby_of, None)
        await pair.standby.execute("CREATE DATABASE sessions")
        assert await refusal_of(store, backend) == (
            f"PostgreSQL at {HOST}:{pair.standby.port} is another cluster than the one that this server began with; "
            "correct SESSIONS_DATABASE_URL, or restart the server if the cluster was replaced."
        )
        await asyncio.to_thread(pair.primary.start)


async def refusal_of(store: Store, backend: Backend) -> str:
    """What an operator sees of a refused read."""
    with pytest.raises(Unavailable) as refusal:
        await store.session(KEY)
    return str(backend.explain(refusal.value))


@asynccontextmanager
async def running_store(url: str) -> AsyncIterator[Store]:
    store = open_store(parse_url(url), cells=open_cells(None), limits=Limits())
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def until_refused(ping: Callable[[], Awaitable[None]]) -> str:
    """The error of the first refused ping."""
    while True:
        try:
            await ping()
        except Unavailable as refusal:
            return str(refusal.__cause__)
        await asyncio.sleep(0.01)


def report(capsys: pytest.CaptureFixture[str], what: str, load: Load) -> None:
    verdict = load.verdict
    assert verdict is not None
    show(
        capsys,
        f"{what}: {len(load.acknowledged)} messages acknowledged, {verdict.lost} lost; of {len(load.followers)} "
        f"streams {verdict.holes} with a silent hole, {verdict.notified} notified",
    )


async def messages_in(postgres: Postgres) -> int:
    [[count]] = await postgres.fetch("SELECT count(*) FROM log", database="sessions")
    return int(count)


async def cut_all(postgres: Postgres) -> None:
    await postgres.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'sessions-server%'"
    )


async def until_none(postgres: Postgres, rows: str) -> None:
    """Polls until there are none; there is no signal to wait for."""
    while await postgres.fetch(f"SELECT FROM {rows}"):  # noqa: ASYNC110  # there is no signal to wait for
        await asyncio.sleep(0.01)
