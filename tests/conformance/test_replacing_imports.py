"""An import in slices that replaces a session: until the last slice the session is as before, and cannot be written."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import pytest

from sessions_server.domain.commit import Commit
from sessions_server.domain.errors import (
    ImportCutShort,
    ImportUnderWay,
    InvalidState,
    SessionNotFound,
    StillErasing,
)
from sessions_server.domain.fork import Fork
from sessions_server.domain.lineage import root_of
from sessions_server.domain.models import (
    SECOND,
    EventType,
    Message,
    Micros,
    Persistence,
    Sequence,
    SessionConfig,
    State,
    StorageOptions,
)
from sessions_server.domain.operations import ImportMessages, ImportRecords
from sessions_server.domain.ports import HistoryQuery
from sessions_server.domain.reads import ReadMessage
from sessions_server.domain.records import PutRecord, Scope
from sessions_server.service import expiry
from sessions_server.service.rewrap import Rewrapper
from sessions_server.storage.erasure import FEW
from sessions_server.storage.sqlite.runner import SqliteRunner
from sessions_server.storage.staging import LEASE
from tests.conformance.harness import (
    KEY,
    OTHER,
    Harness,
    add,
    add_chosen,
    create,
    key,
    move,
    set_context,
    stamp,
)
from tests.conformance.importing import CONTEXT, Coming, erase_all, messages, records, rows_of
from tests.conformance.record_harness import listed, query
from tests.conformance.test_erasing_costs import NOISE, cost
from tests.conformance.test_import_slices import AT_ONCE, IN_SLICES
from tests.conformance.test_record_locks import running_writer
from tests.support import commits as c

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.ports import Cells

LEASE_SECONDS: Final = LEASE / 1_000_000
OLD: Final = 40
"""More messages than the import has."""


async def fill(bench: Harness, at: SessionKey = KEY, *, data_key: bytes | None = None) -> None:
    """A session whose messages and records have the ids and names of those of the import."""
    await bench.do(create(at, data_key=data_key, metadata={"old": True}))
    await bench.do(move(c.Verb.START, at))
    await bench.do(set_context({"old": "context"}, key=at))
    await bench.apply(*(add_chosen(each.id, f"old {each.id}", key=at) for each in messages(1, OLD)))
    await bench.do(add("with a request", key=at, request=stamp("kept")))
    old = [PutRecord(each.name, b"old", {"old": True}, "e") for each in records(at, 0, 10)]
    await bench.commit(Commit(key=at, operations=tuple(old)))


async def seen(bench: Harness) -> list[str]:
    """What readers see of the session."""
    store, scope = bench.store, Scope(*KEY)
    head = (await store.session(KEY)).last_sequence
    page = await store.log(KEY, Sequence(0), 1_000, changes=True)
    assert page.head == page.events[-1].sequence == head
    assert (await store.log(KEY, head, 10)).events == ()
    found = [
        await store.session(KEY),
        await store.context(KEY),
        await store.history(KEY, HistoryQuery(1_000)),
        await store.history(KEY, HistoryQuery(3, after=Sequence(head - 4))),
        await store.history(KEY, HistoryQuery(3, before=Sequence(head + 20))),
        await store.session(KEY, Sequence(10)),
        await store.context(KEY, Sequence(2)),
        page,
        await store.read([ReadMessage(KEY, "id of 3"), ReadMessage(KEY, "id of 29")]),
        await listed(store, query(scope=scope)),
        await listed(store, query(scope=scope, filter={"old": True})),
        await bench.store.heads([KEY]),
    ]
    return [*map(str, found)]


async def check_refused(bench: Harness, error: type[Exception]) -> None:
    record = PutRecord(records(KEY, 3, 1)[0].name, b"new", {}, "e")
    writes: list[Awaitable[object]] = [
        bench.do(add("another")),
        bench.do(set_context({})),
        bench.do(move(c.Verb.PAUSE)),
        bench.do(c.clear_history(key=KEY)),
        bench.do(c.delete(key=KEY)),
        bench.commit(Commit(key=KEY, operations=(record,))),
        Coming(bench).begin(),
        Coming(bench).at_once(),
    ]
    for write in writes:
        with pytest.raises(error):
            await write
    await bench.do(add("with a request", request=stamp("kept")))


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_the_old_session_stays_until_the_last_slice(
    bench: Harness, cells: Cells, encrypted: bool
) -> None:
    await fill(bench, data_key=cells.new_key(*KEY) if encrypted else None)
    before, old = await seen(bench), await bench.store.session(KEY)
    coming = Coming(bench, request="r")
    staged = await coming.begin()
    assert staged is not None
    assert staged.replaces
    for part in coming.slices():
        assert await seen(bench) == before
        await check_refused(bench, ImportUnderWay)
        await coming.add(part)
        assert await bench.store.compact(10) == 0
        assert await bench.store.erase(100) == 0
        bench.clock.turn(seconds=LEASE_SECONDS - 1)
    assert await seen(bench) == before
    fork = Fork(source=KEY, key=key(f"fork {encrypted}"), at=None, log_id="f")
    if not encrypted:
        await bench.store.fork(fork)
        assert (await bench.contents(fork.key)) == await bench.contents()
    committed, published = await coming.end()
    await check_replaced(bench, old.last_sequence)
    session = await bench.store.session(KEY)
    assert committed.session_after()._replace(log_id=session.log_id) == session
    [told] = published
    assert (told.key, told.head, told.events) == (KEY, session.last_sequence, [])
    assert told.erased_through == old.last_sequence
    await erase_all(bench)
    await check_replaced(bench, old.last_sequence)
    assert await coming.begin() is None
    assert (await bench.do(coming.whole.opening)) == committed.session_after()._replace(data_key=None)


async def check_replaced(bench: Harness, head: int) -> None:
    """What was imported is there, after the old session's head, and nothing else is."""
    store = bench.store
    session = await store.session(KEY)
    assert (session.message_count, session.last_sequence, session.state) == (30, head + 31, State.ACTIVE)
    assert session.metadata == {"canary": "of the metadata", "n": 1}
    assert (await store.context(KEY)).data == CONTEXT
    found = (await store.history(KEY, HistoryQuery(100))).messages
    assert [(each.sequence, each.id, each.body) for each in found] == [
        (head + 1 + n, each.id, each.body) for n, each in enumerate(messages(1, 30), 1)
    ]
    events = (await store.log(KEY, Sequence(head - 1), 100)).events
    assert [each.sequence for each in events] == list(range(head, head + 32))
    assert [each.type for each in events[1:3]] == [EventType.IMPORTED, EventType.MESSAGE]
    old = (await store.log(KEY, Sequence(0), head)).events
    assert not [each for each in old if isinstance(each.data, Message)]
    [chosen] = await store.read([ReadMessage(KEY, "id of 3")])
    assert isinstance(chosen, Message)
    assert chosen.sequence == head + 4
    assert await store.read([ReadMessage(KEY, "id of 35")]) == (None,)
    assert await listed(store, query(scope=Scope(*KEY))) == [f"k{n:04}" for n in range(10)]
    assert await listed(store, query(scope=Scope(*KEY), filter={"old": True})) == []


async def test_it_equals_an_import_in_one_transaction(
    bench: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_server.storage.bases.EVENTS", 8)
    stored = []
    for at in (IN_SLICES, AT_ONCE):
        await fill(bench, at)
        coming = Coming(bench, at, request="r")
        await (coming.all() if at == IN_SLICES else coming.at_once())
        await erase_all(bench)
        await bench.apply(add_chosen("id of 35", "free again", key=at), add("after", key=at))
        rows = await rows_of(bench, at)
        log_id = (await bench.store.session(at)).log_id
        stored.append(str(rows).replace(log_id, "same").replace(root_of(log_id), "same"))
    assert stored[0] == stored[1]
    assert len((await rows_of(bench, IN_SLICES))["bases"]) >= 4


async def test_what_is_left_of_an_import_that_ends_early_is_erased(bench: Harness) -> None:
    await fill(bench)
    before = await rows_of(bench, KEY)
    for gives_up in (False, True):
        coming = Coming(bench)
        await coming.some(2)
        assert len((await rows_of(bench, KEY))["log"]) == len(before["log"]) + 20
        if gives_up:
            await coming.give_up()
        bench.clock.turn(seconds=LEASE_SECONDS)
        shown = await seen(bench)
        for _ in range(2):
            await check_refused(bench, StillErasing)
            assert await bench.store.erase(7) == 7
            assert await seen(bench) == shown
        for late in (coming.add((ImportMessages(messages(21, 1)),)), coming.end()):
            with pytest.raises(ImportCutShort):
                await late
        await erase_all(bench)
        assert await rows_of(bench, KEY) == before
    head = (await bench.store.session(KEY)).last_sequence
    await bench.do(add("after"))
    assert (await bench.store.session(KEY)).last_sequence == head + 1
    assert (await Coming(bench).all()).last_sequence == head + 32


async def test_an_expiry_meanwhile_is_final(bench: Harness) -> None:
    await bench.apply(create(config=SessionConfig(timeout=Micros(10 * SECOND))), add("old"))
    coming = Coming(bench)
    await coming.some(3)
    bench.clock.turn(seconds=10)
    assert (await bench.store.session(KEY)).state is State.EXPIRED
    with pytest.raises(ImportUnderWay):
        await bench.commit(c.expire(key=KEY))
    with pytest.raises(InvalidState):
        await coming.end()
    await coming.give_up()
    await erase_all(bench)
    await bench.commit(c.expire(key=KEY))
    assert await bench.contents() == ["old"]


async def test_the_expiries_of_other_sessions_are_recorded_meanwhile(
    bench: Harness, cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "STEP", 1)
    for at, seconds in ((KEY, 9), (OTHER, 10)):
        await bench.do(create(at, config=SessionConfig(timeout=Micros(seconds * SECOND))))
    await Coming(bench).some(1)
    bench.clock.turn(seconds=10)
    async with AsyncExitStack() as stack:
        sweeper = expiry.Sweeper(
            commits=await running_writer(bench.store, stack),
            store=bench.store,
            upkeep=bench.store,
            rewrapper=Rewrapper(cells=cells, store=bench.store),
            keyring=cells.keyring,
            interval_seconds=60,
        )
        await sweeper.sweep_expiries()
    assert await bench.due(10) == [KEY]


async def test_a_session_that_is_erased_meanwhile_stays_erased(bench: Harness) -> None:
    storage = StorageOptions(persistence=Persistence.TEMPORARY, ttl=Micros(10 * SECOND))
    await bench.apply(create(storage=storage), add("old"))
    coming = Coming(bench)
    await coming.some(3)
    bench.clock.turn(seconds=10)
    with pytest.raises(SessionNotFound):
        await bench.store.session(KEY)
    with pytest.raises(ImportCutShort):
        await coming.end()
    await coming.give_up()
    await erase_all(bench)
    late = Coming(bench)
    assert await late.begin() is None, "it is recreated in one transaction, after the erasure"
    await late.at_once()
    assert len(await bench.contents()) == 30


async def test_what_was_erased_before_stays_erased_and_the_rest_continues(bench: Harness) -> None:
    many = 2 * FEW
    await Coming(bench, count=many, records=0, rows=100).all()
    await bench.do(c.delete(key=KEY))
    await bench.apply(create(), add(*map(str, range(many))))
    await bench.do(c.clear_history(key=KEY))
    await bench.do(add("old"))
    coming = Coming(bench, count=many, records=0, rows=100)
    assert await coming.begin() is not None
    for part in coming.slices():
        await coming.add(part)
        await bench.store.erase(50)
        assert await bench.contents() == ["old"]
    await coming.end()
    for _ in range(2):
        assert await bench.contents() == [each.body.content for each in messages(1, many)]
        await erase_all(bench)
    assert len([row for row in (await rows_of(bench, KEY))["log"] if row[2]]) == many


async def test_it_can_be_repeated_while_the_last_one_is_being_erased(bench: Harness) -> None:
    many = 2 * FEW
    await bench.do(create())
    for _ in range(3):
        await Coming(bench, count=many, records=0, rows=100).all()
        await bench.store.erase(50)
        assert await bench.contents() == [each.body.content for each in messages(1, many)]


async def test_the_last_transaction_costs_the_same_at_any_size(bench: Harness) -> None:
    found = []
    for count in (300, 1_500):
        await bench.do(create())
        await bench.do(add(*map(str, range(count))))
        restored = ImportRecords(records(KEY, 0, count))
        await bench.commit(Commit(key=KEY, operations=(restored,)))
        coming = Coming(bench, count=count, records=count, rows=100)
        await coming.some(2 * count)

        async def end(ends: Callable[[], Awaitable[object]] = coming.end) -> None:
            await ends()

        found.append(await cost(bench, end()))
        await bench.do(c.delete(key=KEY))
        while await bench.store.erase(1_000):
            pass
    assert found[1] <= 1.2 * found[0] + (0 if isinstance(bench.store._runner, SqliteRunner) else NOISE)
