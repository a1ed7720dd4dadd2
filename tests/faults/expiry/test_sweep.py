"""The sweeper records each expiry once, with its event, however many sweepers run and however often."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.models import (
    SECOND,
    Deleted,
    Event,
    ExpiryAction,
    Micros,
    Persistence,
    Sequence,
    SessionConfig,
    SessionKey,
    StateChange,
    StorageOptions,
)
from sessions_server.security.cells import KeyringCells
from sessions_server.security.encryption import NoKeyring
from sessions_server.security.keyring import Keyring, create_keyring, load_keyring, rotate_keyring
from sessions_server.service.expiry import RETRIED_AT_ONCE
from sessions_server.storage.sqlite.connection import driver_of
from tests.faults.expiry.replica import Replica, running_replica
from tests.support import commits as c
from tests.support.clock import START, HandClock
from tests.support.figures import show
from tests.support.postgres import running_postgres
from tests.support.server import sqlite_url
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells

SESSIONS = 600
STEP = 50
LAST_SECOND = 1_000

OPTIONS = [
    StorageOptions(),
    StorageOptions(ttl=Micros(40 * SECOND)),
    StorageOptions(ttl=Micros(40 * SECOND), expiry_action=ExpiryAction.ARCHIVE),
    StorageOptions(ttl=Micros(40 * SECOND), expiry_action=ExpiryAction.DELETE),
    StorageOptions(Persistence.TEMPORARY, ttl=Micros(40 * SECOND), expiry_action=ExpiryAction.DELETE),
]
TIMEOUTS = [None, Micros(20 * SECOND), Micros(60 * SECOND)]


def key(number: int | str) -> SessionKey:
    return SessionKey("default", f"s{number}")


def create(key: SessionKey, storage: StorageOptions, timeout: Micros | None, **more: object) -> c.Commit:
    config = SessionConfig(timeout=timeout)
    return c.create(key=key, user_id="u", metadata={}, config=config, storage=storage, **more)  # type: ignore[arg-type]  # the arguments of Create


def expected_events(storage: StorageOptions, timeout: Micros | None) -> list[tuple[str, float]]:
    """What timers do to an untouched session: the new states, and after how many seconds."""
    ttl = storage.ttl
    events: list[tuple[str, float]] = []
    if timeout is not None and (ttl is None or timeout < ttl):
        events.append(("expired", timeout / SECOND))
    if ttl is not None:
        outcome = {ExpiryAction.DELETE: "deleted", ExpiryAction.ARCHIVE: "archived"}
        events.append((outcome.get(storage.expiry_action, "expired"), ttl / SECOND))
    return events


def seen(event: Event) -> tuple[str, float]:
    match event.data:
        case StateChange(state):
            return str(state), (event.time - START) / SECOND
        case Deleted():
            return "deleted", (event.time - START) / SECOND
    raise AssertionError("the clock does nothing else")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=["sqlite", "postgres"])
async def replicas(
    request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock
) -> AsyncIterator[list[Replica]]:
    """Two sweepers over one database: on SQLite in one process, on PostgreSQL as two replicas."""
    async with AsyncExitStack() as stack:
        if request.param == "sqlite":
            url, count = sqlite_url(tmp_path), 1
        else:
            postgres = stack.enter_context(running_postgres())
            url, count = postgres.url(await postgres.fresh_database()), 2
        found = [
            await stack.enter_async_context(running_replica(url, clock, NoKeyring())) for _ in range(count)
        ]
        yield [found[0], found[-1]]


async def sweep(replicas: list[Replica]) -> int:
    """Sweeps with both until nothing is left; returns how many steps found something."""
    steps = 0
    while any(await asyncio.gather(*(replica.sweeper.expire(STEP) for replica in replicas))):
        steps += 1
    return steps


async def test_each_expiry_is_one_event_however_many_sweepers_run(
    replicas: list[Replica], clock: HandClock, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(7)
    made = {key(number): (rng.choice(OPTIONS), rng.choice(TIMEOUTS)) for number in range(SESSIONS)}
    await asyncio.gather(
        *(replicas[0].writer.submit(create(name, *options)) for name, options in made.items())
    )
    for second in (19, 20, 39, 40, 60, LAST_SECOND):
        clock.turn_to(Micros(START + second * SECOND))
        await sweep(replicas)
        assert await sweep(replicas) == 0, "a second sweep finds nothing"
    told = {id(replica): replica.published for replica in replicas}
    events = Counter(
        (event.key, *seen(event))
        for published in told.values()
        for change in published
        for event in change.events
        if event.sequence > 1
    )
    expected = Counter(
        (name, *event) for name, options in made.items() for event in expected_events(*options)
    )
    assert events == expected
    await check_logs(replicas[0], made)
    show(capsys, f"{SESSIONS} sessions, two sweepers at once: {events.total()} expiries, each recorded once")


async def check_logs(replica: Replica, made: dict[SessionKey, tuple[StorageOptions, Micros | None]]) -> None:
    """Checks that the log equals what watchers received; of an erased session only the head remains."""
    for name, options in made.items():
        expected = expected_events(*options)
        page = await replica.store.log(name, Sequence(1), 10)
        if expected[-1:] and expected[-1][0] == "deleted":
            assert (page.events, page.head) == ((), 1 + len(expected))
        else:
            assert [seen(event) for event in page.events] == expected


async def test_expiries_are_recorded_after_the_clock_was_set_back(tmp_path: Path, clock: HandClock) -> None:
    async with running_replica(sqlite_url(tmp_path), clock, NoKeyring()) as replica:
        for name, created in (("ahead", 2 * LAST_SECOND), ("right", 0)):
            clock.turn_to(Micros(START + created * SECOND))
            await replica.writer.submit(create(key(name), OPTIONS[-1], TIMEOUTS[0]))
            clock.turn(seconds=LAST_SECOND)
            await replica.sweeper.sweep_expiries()
            assert await replica.store.due(1) == [], name


async def test_an_expiry_that_cannot_be_recorded_does_not_block_others(
    tmp_path: Path, clock: HandClock
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    create_keyring(tmp_path / "keyring", now=now)
    lost = load_keyring(tmp_path / "keyring")
    current: list[Keyring] = [lost]
    cells: Cells = KeyringCells(lambda: current[0])
    encrypted = StorageOptions(encryption=True)
    async with running_replica(sqlite_url(tmp_path), clock, cells) as replica:
        for number in range(2 * STEP + 1):
            made = create(key(number), encrypted, TIMEOUTS[1], data_key=cells.new_key(*key(number)))
            await replica.writer.submit(made)
        clock.turn(seconds=1)
        (tmp_path / "other").mkdir()
        create_keyring(tmp_path / "other" / "keyring", now=now)
        current[0] = rotated_without_the_first(tmp_path / "other" / "keyring", now)
        for number in range(1, 4):
            await replica.writer.submit(create(key(f"plain{number}"), OPTIONS[0], TIMEOUTS[1]))
        clock.turn(seconds=LAST_SECOND)
        assert await sweep([replica]) >= 3
        for number in range(1, 4):
            assert (await replica.store.log(key(f"plain{number}"), Sequence(0), 9)).head == 2
        current[0] = lost
        sweeping = asyncio.create_task(replica.sweeper.run())
        assert await eventually(lambda: replica.store.due(1), lambda due: not due) == []
        sweeping.cancel()
        assert (await replica.store.log(key(0), Sequence(0), 9)).head == 2


async def test_an_expiry_that_cannot_be_recorded_is_retried_rarely(tmp_path: Path, clock: HandClock) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    create_keyring(tmp_path / "keyring", now=now)
    current: list[Keyring] = [load_keyring(tmp_path / "keyring")]
    cells: Cells = KeyringCells(lambda: current[0])
    async with running_replica(sqlite_url(tmp_path), clock, cells) as replica:
        for number in range(4 * RETRIED_AT_ONCE):
            options = StorageOptions(encryption=True)
            made = create(key(number), options, TIMEOUTS[1], data_key=cells.new_key(*key(number)))
            await replica.writer.submit(made)
        (tmp_path / "other").mkdir()
        create_keyring(tmp_path / "other" / "keyring", now=now)
        current[0] = rotated_without_the_first(tmp_path / "other" / "keyring", now)
        clock.turn(seconds=LAST_SECOND)
        statements: list[str] = []
        runner = replica.store._runner
        await runner.write(lambda connection: driver_of(connection).set_trace_callback(statements.append))
        await replica.sweeper.sweep_expiries()
        assert transactions(statements) >= 4 * RETRIED_AT_ONCE, "each was tried once"
        for _ in range(3):
            statements.clear()
            await replica.sweeper.sweep_expiries()
            assert statements == [], "and then not again"
        await replica.writer.submit(create(key("plain"), OPTIONS[0], TIMEOUTS[1]))
        clock.turn(seconds=LAST_SECOND)
        await replica.sweeper.sweep_expiries()
        assert (await replica.store.log(key("plain"), Sequence(0), 9)).head == 2
        replica.sweeper._retry_at = 0.0  # ten minutes later
        for _ in range(4):
            statements.clear()
            await replica.sweeper.sweep_expiries()
            assert 0 < transactions(statements) <= RETRIED_AT_ONCE + 1
        await replica.sweeper.sweep_expiries()
        statements.clear()
        await replica.sweeper.sweep_expiries()
        assert statements == [], "all were tried again"


def transactions(statements: list[str]) -> int:
    return sum(statement.startswith("BEGIN") for statement in statements)


def rotated_without_the_first(path: Path, now: datetime) -> Keyring:
    """A keyring without key 1."""
    rotate_keyring(path, now=now)
    document = json.loads(path.read_text())
    del document["keys"][0]
    path.write_text(json.dumps(document))
    return load_keyring(path)
