"""Imports in slices: nothing is visible before the last slice, and until then all rows count as rows to erase."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.errors import (
    DataCorrupted,
    ImportCutShort,
    ImportUnderWay,
    SessionExists,
    SessionNotFound,
    StillErasing,
)
from sessions_server.domain.fork import Fork
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import Sequence, SessionKey
from sessions_server.domain.operations import ImportMessages
from sessions_server.domain.ports import HistoryQuery
from sessions_server.domain.reads import ReadMessage
from sessions_server.domain.record_reads import CollectionQuery
from sessions_server.domain.records import Scope
from sessions_server.security.cells import KeyringCells
from sessions_server.security.keyring import create_keyring, load_keyring, rotate_keyring
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.databases import parse_url
from sessions_server.storage.erasure import FEW
from sessions_server.storage.staging import LEASE
from sessions_server.storage.store import open_store
from tests.conformance import importing
from tests.conformance.harness import KEY, OTHER, Harness, add, create, key, list_of
from tests.conformance.importing import CONTEXT, Coming, erase_all, messages, rows_of
from tests.conformance.record_harness import listed, query
from tests.conformance.test_record_locks import deadlocks
from tests.support import commits as c

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

LEASE_SECONDS = LEASE / 1_000_000
IN_SLICES, AT_ONCE = key("that came in slices"), key("that came at once")


async def check_unseen(bench: Harness, unseen: SessionKey = KEY) -> None:
    store, scope = bench.store, Scope(*unseen)
    fork = Fork(source=unseen, key=key("a fork"), at=None, log_id="f")
    for read in (
        store.session(unseen),
        store.context(unseen),
        store.history(unseen, HistoryQuery(5)),
        store.session(unseen, Sequence(3)),
        store.log(unseen, Sequence(0), 10),
        store.fork(fork),
        bench.do(add("x", key=unseen)),
        bench.do(c.delete(key=unseen)),
    ):
        with pytest.raises(SessionNotFound):
            await read
    assert await store.read([ReadMessage(unseen, "id of 3")]) == (None,)
    assert await store.record(importing.records(unseen, 3, 1)[0].name) is None
    for wanted in (
        query(scope=scope),
        query(scope=scope, filter={"n": 3}),
        query(all_sessions=True),
        query(all_sessions=True, filter={"n": 3}),
    ):
        assert await listed(store, wanted) == []
    for everywhere in (False, True):
        found = await store.collections(CollectionQuery(scope, everywhere, (), 0, 10))
        assert found.paths == ()
    assert await bench.listed(list_of()) == []
    assert await bench.listed(list_of(metadata_filter={"n": 1})) == []
    assert await store.heads([unseen]) == {}
    assert await store.keys(None, 10) == []
    assert (await store.counts()).sessions == 0
    assert await store.due(10) == []
    assert (await store.rewrap(None, 10)).looked_at == 0


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_nothing_is_visible_before_the_last_slice(
    bench: Harness, cells: Cells, encrypted: bool
) -> None:
    data_key = cells.new_key(*KEY) if encrypted else None
    coming = Coming(bench, data_key=data_key)
    assert await coming.begin() is not None
    await check_unseen(bench)
    for part in coming.slices():
        await coming.add(part)
        await check_unseen(bench)
        assert await bench.store.compact(10) == 0
        assert await bench.store.erase(100) == 0
        bench.clock.turn(seconds=LEASE_SECONDS - 1)
    committed, published = await coming.end()
    session = await bench.store.session(KEY)
    assert committed.session_after()._replace(log_id=session.log_id) == session
    assert (session.message_count, session.last_sequence, session.history_head) == (30, 31, 31)
    assert [(each.key, each.head, each.events) for each in published] == [(KEY, 31, [])]
    page = await bench.store.history(KEY, HistoryQuery(100))
    assert page.messages == tuple(
        each._replace(sequence=Sequence(place)) for place, each in enumerate(messages(1, 30), 2)
    )
    assert (await bench.store.context(KEY)).data == CONTEXT
    assert await bench.store.context(KEY, Sequence(5)) == await bench.store.context(KEY)
    assert (await bench.store.session(KEY, Sequence(12))).message_count == 11
    assert await listed(bench.store, query(scope=Scope(*KEY), filter={"n": 3})) == ["k0003"]
    assert await erase_all(bench) == 0
    await bench.do(add("after"))
    assert (await bench.contents())[-1] == "after"


@pytest.mark.parametrize("before", ["nothing", "an erased session"])
@pytest.mark.parametrize("moved", [False, True], ids=["imported", "moved"])
async def test_an_import_in_slices_equals_one_in_a_single_transaction(
    bench: Harness, monkeypatch: pytest.MonkeyPatch, before: str, moved: bool
) -> None:
    monkeypatch.setattr("sessions_server.storage.bases.EVENTS", 8)
    for each in (IN_SLICES, AT_ONCE):
        if before != "nothing":
            await bench.apply(create(each), add("a", key=each), c.delete(key=each))
    in_slices = Coming(bench, IN_SLICES, moved=moved, request="r")
    at_once = Coming(bench, AT_ONCE, moved=moved, request="r")
    await at_once.at_once()
    await in_slices.some(2)
    bench.clock.turn(seconds=5)
    for part in [*in_slices.slices()][2:]:
        await in_slices.add(part)
    session = (await in_slices.end())[0].session_after()
    stored = await rows_of(bench, IN_SLICES)
    assert stored == await rows_of(bench, AT_ONCE)
    assert len(stored["log"]) == 31
    assert len(stored["bases"]) >= 3
    assert len(stored["records"]) == 10
    other = await bench.store.session(AT_ONCE)
    assert session == other._replace(key=IN_SLICES, log_id=session.log_id)
    assert session.last_sequence == (91 if moved else 34 if before != "nothing" else 31)


async def test_a_slice_is_renewed_until_the_lease_has_ended(bench: Harness) -> None:
    coming = Coming(bench)
    await coming.some(2)
    for _ in range(3):
        bench.clock.turn(seconds=LEASE_SECONDS, micros=-1)
        assert await bench.store.erase(100) == 0
        await coming.add((ImportMessages(()),))
    bench.clock.turn(seconds=LEASE_SECONDS)
    with pytest.raises(StillErasing):
        await bench.do(create())
    assert await erase_all(bench) >= 20
    assert await rows_of(bench, KEY) == {}
    await check_unseen(bench)
    for late in (coming.add((ImportMessages(messages(21, 5)),)), coming.end()):
        with pytest.raises(ImportCutShort, match="nothing of it was kept"):
            await late
    await coming.give_up()
    assert await rows_of(bench, KEY) == {}
    assert (await Coming(bench).all()).last_sequence == 31


async def test_an_import_being_erased_cannot_be_continued(bench: Harness) -> None:
    coming = Coming(bench, records=0)
    await coming.some(3)
    bench.clock.turn(seconds=LEASE_SECONDS)
    assert await bench.store.erase(3) == 3
    for late in (coming.add((ImportMessages(messages(31, 1)),)), coming.end()):
        with pytest.raises(ImportCutShort):
            await late
    await erase_all(bench)
    assert await rows_of(bench, KEY) == {}


async def test_erasure_steps_are_small_whatever_was_stored(
    bench: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_server.storage.bases.EVENTS", 8)
    await Coming(bench, count=60, records=30).some(100)
    bench.clock.turn(seconds=LEASE_SECONDS)
    steps = []
    while count := await bench.store.erase(20):
        steps.append(count)
    assert max(steps) <= 20
    assert await rows_of(bench, KEY) == {}


async def test_an_abandoned_import_is_erased_at_once(bench: Harness) -> None:
    coming = Coming(bench)
    await coming.some(3)
    bench.store._to_erase.clear()
    await coming.give_up()
    await bench.store.wait_for_erasures(60)
    assert await erase_all(bench) > 0
    assert await rows_of(bench, KEY) == {}


async def test_no_other_session_is_created_with_the_id_meanwhile(bench: Harness) -> None:
    coming = Coming(bench, request="r")
    await coming.some(2)
    await bench.do(create(OTHER))
    fork = Fork(source=OTHER, key=KEY, at=None, log_id="f")
    under_way = "being imported under this session_id; try again with the same request_id"
    for other in (
        bench.do(create()),
        bench.do(c.create(key=KEY, return_existing=True)),
        bench.store.fork(fork),
        Coming(bench, request="r").begin(),
        Coming(bench, request="another").begin(),
        Coming(bench).at_once(),
    ):
        with pytest.raises(ImportUnderWay, match=under_way):
            await other
    for part in list(coming.slices())[2:]:
        await coming.add(part)
    made = (await coming.end())[0].session_after()
    again = Coming(bench, request="r")
    assert await again.begin() is None, "the request was made before"
    assert (await bench.do(again.whole.opening)) == made
    with pytest.raises(SessionExists):
        await Coming(bench, fail_if_exists=True).begin()


async def test_one_of_two_concurrent_imports_of_an_id_succeeds(
    postgres_url: str, opener: Opener, clock: HandClock
) -> None:
    """SQLite has a single server, whose writer does one thing after another."""
    async with AsyncExitStack() as stack:
        comings = []
        for _ in range(2):
            store = opener(postgres_url)
            await store.start()
            stack.push_async_callback(store.close)
            comings.append(Coming(Harness(store, clock)))
        outcomes = await asyncio.gather(*(each.begin() for each in comings), return_exceptions=True)
        refused = [isinstance(each, ImportUnderWay) for each in outcomes]
        assert sorted(refused) == [False, True], outcomes
        winner = comings[refused.index(False)]
        for part in winner.slices():
            await winner.add(part)
        await winner.end()
        stored = await rows_of(comings[0].bench, KEY)
        assert (len(stored["log"]), len(stored["records"])) == (31, 10)
        assert "erasures" not in stored
    assert await deadlocks(postgres_url) == 0


async def test_the_same_messages_can_be_imported_while_the_deleted_ones_are_being_erased(
    bench: Harness,
) -> None:
    many = 2 * FEW
    await Coming(bench, count=many, records=0, rows=100).all()
    await bench.do(c.delete(key=KEY))
    coming = Coming(bench, count=many, records=0, rows=100)
    assert await coming.begin() is not None
    for part in coming.slices():
        await coming.add(part)
        await bench.store.erase(50)
        with pytest.raises(SessionNotFound):
            await bench.contents()
    await coming.end()
    expected = [each.body.content for each in messages(1, many)]
    for _ in range(2):
        assert await bench.contents() == expected
        session = await bench.store.session(KEY)
        assert (session.message_count, session.log_start) == (many, many + 3)
        assert (await bench.store.log(KEY, Sequence(0), 5)).events[0].sequence == many + 3
        await erase_all(bench)
    stored = await rows_of(bench, KEY)
    assert len(stored["log"]) == many + 1
    assert "erasures" not in stored


async def test_an_import_that_ends_early_leaves_an_older_erasure_unchanged(bench: Harness) -> None:
    many = 2 * FEW
    await Coming(bench, count=many, records=0, rows=100).all()
    await bench.do(c.delete(key=KEY))
    coming = Coming(bench, count=50, records=0)
    await coming.some(3)
    await coming.give_up()
    await erase_all(bench)
    left = await rows_of(bench, KEY)
    assert left.keys() == {"tombstones"}
    await bench.apply(create(), add("a"))
    assert (await bench.store.session(KEY)).log_start == many + 3


async def test_the_last_slice_uses_the_current_keyring(
    lasting_url: str, clock: HandClock, tmp_path: Path
) -> None:
    path, now = tmp_path / "keyring", datetime(2026, 1, 1, tzinfo=UTC)
    create_keyring(path, now=now)
    old = load_keyring(path)
    both = rotate_keyring(path, now=now)
    create_keyring(tmp_path / "another", now=now)
    another = load_keyring(tmp_path / "another")
    current = [old]
    cells = KeyringCells(lambda: current[0])
    options = RunOptions(clock=clock, pool_size=4, allow_unsafe=True)
    store = open_store(parse_url(lasting_url), cells=cells, limits=Limits(), options=options)
    await store.start()
    try:
        bench = Harness(store, clock)
        coming, lost = (Coming(bench, each, data_key=cells.new_key(*each)) for each in (KEY, OTHER))
        await coming.some(9)
        await lost.some(9)
        current[0] = both
        await coming.end()
        assert (await store.rewrap(None, 10)).changed == 0
        assert (await bench.contents())[:1] == ["canary of message 1"]
        current[0] = another
        with pytest.raises(DataCorrupted, match="does not open"):
            await lost.end()
        with pytest.raises(SessionNotFound):
            await store.session(OTHER)
    finally:
        await store.close()
