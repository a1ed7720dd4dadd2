"""Which parts of records are encrypted, with which keys, and what happens if the keyring changes or is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from sessions_server.domain.errors import DataCorrupted, KeyNotAvailable
from sessions_server.domain.limits import Limits
from sessions_server.security.cells import KeyringCells
from sessions_server.security.encryption import NoKeyring
from sessions_server.security.keyring import create_keyring, load_keyring, rotate_keyring
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.databases import parse_url
from sessions_server.storage.store import Store, open_store
from tests.conformance.harness import KEY, OTHER, Harness, create
from tests.conformance.record_harness import IN_SESSION, OF_TENANT, OF_USER, name, put, write

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Cells
    from tests.support.clock import HandClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = b"canary-value"


async def stored(store: Store) -> list[tuple[bytes, bool]]:
    def read(connection: Connection) -> list[tuple[bytes, bool]]:
        rows = connection.execute(
            sa.text("SELECT value, sealed FROM records ORDER BY session_id, user_id, key")
        )
        return [(bytes(value), bool(sealed)) for value, sealed in rows]

    return await store._read(read)


async def run(store: Store, statement: str) -> None:
    await store._write(lambda connection: connection.execute(sa.text(statement)))


async def test_records_are_encrypted_with_their_session_and_shared_ones_with_the_keyring(
    bench: Harness, cells: Cells
) -> None:
    data_key = cells.new_key(*OTHER)
    await bench.apply(create(), create(OTHER, data_key=data_key))
    sealed_session = IN_SESSION._replace(session_id=OTHER.session_id)
    for scope, key in ((IN_SESSION, None), (sealed_session, data_key), (OF_USER, None), (OF_TENANT, None)):
        await write(bench.store, put(name("k", scope=scope), SECRET, {"label": "in clear"}), data_key=key)
        record = await bench.store.record(name("k", scope=scope))
        assert record is not None
        assert record.value == SECRET
    found = await stored(bench.store)
    assert [SECRET in value for value, _ in found] == [False, False, False, True]
    assert [sealed for _, sealed in found] == [True, True, True, False]


async def test_a_moved_value_is_detected(bench: Harness) -> None:
    await write(bench.store, put(name("a", scope=OF_USER), SECRET), put(name("b", scope=OF_USER), SECRET))
    await run(bench.store, "UPDATE records SET key = 'c' WHERE key = 'a'")
    await run(bench.store, "UPDATE records SET user_id = 'v' WHERE key = 'b'")
    await run(
        bench.store,
        "INSERT INTO shared_keys SELECT tenant, 'v', data_key FROM shared_keys WHERE user_id = 'u'",
    )
    for moved in (name("c", scope=OF_USER), name("b", scope=OF_USER._replace(user_id="v"))):
        with pytest.raises(DataCorrupted):
            await bench.store.record(moved)


@asynccontextmanager
async def opened(url: str, clock: HandClock, cells: Cells) -> AsyncIterator[Store]:
    options = RunOptions(clock=clock, allow_unsafe=True)
    store = open_store(parse_url(url), cells=cells, limits=Limits(), options=options)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def test_a_scope_is_encrypted_once_there_is_a_keyring_and_stays_so(
    lasting_url: str, clock: HandClock, tmp_path: Path
) -> None:
    async with opened(lasting_url, clock, NoKeyring()) as store:
        await write(store, put("before", SECRET))
    create_keyring(tmp_path / "keyring", now=NOW)
    keyring = load_keyring(tmp_path / "keyring")
    async with opened(lasting_url, clock, KeyringCells(lambda: keyring)) as store:
        await write(store, put("with", SECRET))
        assert [sealed for _, sealed in await stored(store)] == [False, True]
        for key in ("before", "with"):
            record = await store.record(name(key))
            assert record is not None
            assert record.value == SECRET
    async with opened(lasting_url, clock, NoKeyring()) as store:
        assert await store.record(name("before")) is not None
        with pytest.raises(KeyNotAvailable):
            await store.record(name("with"))
        with pytest.raises(KeyNotAvailable):
            await write(store, put("after", SECRET))
        assert len(await stored(store)) == 2


async def test_a_rotated_keyring_rewraps_the_keys_of_shared_records(
    url: str, clock: HandClock, tmp_path: Path
) -> None:
    path = tmp_path / "keyring"
    create_keyring(path, now=NOW)
    old = load_keyring(path)
    new = rotate_keyring(path, now=NOW)
    current = [old]
    cells = KeyringCells(lambda: current[0])
    async with opened(url, clock, cells) as store:
        await Harness(store, clock).do(create(KEY, data_key=cells.new_key(*KEY)))
        for scope in (OF_USER, OF_TENANT):
            await write(store, put(name("k", scope=scope), SECRET))
        before = await stored(store)
        current[0] = new
        steps = [await store.rewrap(None, 1)]
        while steps[-1].last is not None:
            steps.append(await store.rewrap(steps[-1].last, 1))
        assert [(step.looked_at, step.changed) for step in steps] == [(1, 1), (1, 1), (1, 1), (0, 0)]
        second = await store.rewrap(None, 9)
        assert (second.looked_at, second.changed, second.failures) == (1, 0, ())
        third = await store.rewrap(second.last, 9)
        assert (third.looked_at, third.changed) == (2, 0)
        assert await stored(store) == before
        for scope in (OF_USER, OF_TENANT):
            record = await store.record(name("k", scope=scope))
            assert record is not None
            assert record.value == SECRET
