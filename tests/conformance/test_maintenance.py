"""Maintenance, which keeps the store small and its keys current."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.errors import EncryptionNotConfigured, KeyNotAvailable
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import (
    SECOND,
    EventType,
    Message,
    MessageBody,
    Micros,
    Sequence,
    SessionConfig,
    SessionKey,
)
from sessions_server.domain.ports import HistoryQuery
from sessions_server.security.cells import KeyringCells
from sessions_server.security.keyring import create_keyring, load_keyring, rotate_keyring
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.databases import parse_url
from sessions_server.storage.store import open_store
from tests.conformance.harness import KEY, OTHER, Harness, add, create, key, move, set_context, stamp
from tests.support import commits as c

if TYPE_CHECKING:
    from tests.support.clock import HandClock

DAY = 24 * 3600
YEAR_9999 = Micros(253_000_000_000 * SECOND)


async def compact(bench: Harness, limit: int = 10) -> None:
    while await bench.store.compact(limit):
        pass


async def sequences(bench: Harness, key: SessionKey = KEY) -> list[int]:
    page = await bench.store.log(key, Sequence(0), 1_000)
    return [event.sequence for event in page.events]


async def test_request_ids_are_removed_after_a_day_in_small_steps(bench: Harness) -> None:
    await bench.apply(create(), *(add(f"m{number}", request=stamp(f"r{number}")) for number in range(5)))
    bench.clock.turn(seconds=DAY - 1)
    await bench.do(add("late", request=stamp("late")))
    assert await bench.store.purge_requests(10) == 0
    bench.clock.turn(seconds=1)
    assert [await bench.store.purge_requests(3) for _ in range(3)] == [3, 2, 0]
    await bench.do(add("late", request=stamp("late")))
    assert (await bench.contents())[-1:] == ["late"]
    assert len(await bench.contents()) == 6


async def test_a_request_id_used_again_does_not_keep_others(bench: Harness) -> None:
    await bench.apply(create(), add("a", request=stamp("first")), add("b", request=stamp("second")))
    bench.clock.turn(seconds=DAY)
    await bench.do(add("c", request=stamp("first")))
    assert [await bench.store.purge_requests(2) for _ in range(2)] == [1, 0]
    await bench.apply(add("c", request=stamp("first")), add("d", request=stamp("second")))
    assert await bench.contents() == ["a", "b", "c", "d"]


async def test_request_ids_from_a_clock_that_was_far_ahead_are_removed(bench: Harness) -> None:
    await bench.do(create())
    bench.clock.turn(seconds=10 * DAY)
    await bench.apply(*(add(f"m{number}", request=stamp(f"ahead {number}")) for number in range(3)))
    bench.clock.turn(seconds=-9 * DAY)
    await bench.do(add("a day later", request=stamp("on time")))
    assert await bench.store.purge_requests(10) == 3
    bench.clock.turn(seconds=DAY)
    assert [await bench.store.purge_requests(1) for _ in range(2)] == [1, 0]


async def test_old_events_before_the_history_are_compacted(bench: Harness) -> None:
    await bench.apply(create(), add("a", "b"), set_context({"k": 1}), c.clear_history(key=KEY), add("c"))
    bench.clock.turn(seconds=7 * DAY, micros=-1)
    await compact(bench)
    assert await sequences(bench) == [1, 2, 3, 4, 5, 6]
    bench.clock.turn(micros=1)
    await compact(bench)
    assert await sequences(bench) == [6]
    page = await bench.store.log(KEY, Sequence(0), 10)
    assert (page.log_start, page.head) == (6, 6)
    assert await bench.contents() == ["c"]


async def test_messages_of_the_history_stay_and_other_events_are_compacted(bench: Harness) -> None:
    await bench.apply(create(), set_context({"k": 1}), add("a"), set_context({"k": 2}), move(c.Verb.START))
    bench.clock.turn(seconds=30 * DAY)
    await compact(bench)
    assert await sequences(bench) == []
    assert await bench.contents() == ["a"]
    await bench.do(c.clear_history(key=KEY))
    await compact(bench)
    assert await sequences(bench) == [6]
    bench.clock.turn(seconds=30 * DAY)
    await compact(bench)
    assert await sequences(bench) == []
    assert (await bench.store.log(KEY, Sequence(6), 10)).log_start == 7
    await bench.do(add("b"))
    assert await sequences(bench) == [7]
    assert await bench.contents() == ["b"]
    await bench.do(c.clear_history(key=KEY))
    bench.clock.turn(seconds=30 * DAY)
    await compact(bench)
    assert await sequences(bench) == []


async def test_a_message_of_the_future_keeps_no_event_from_compaction(bench: Harness) -> None:
    """An import keeps when its messages were created; compaction goes by the server's own time."""
    await bench.do(create())
    message = Message("m", Sequence(2), YEAR_9999, MessageBody("user", "x"))
    await bench.apply(
        c.import_session(
            key=OTHER, exported=await bench.store.session(KEY), context={}, message_count=1, log_id="l"
        ),
        c.import_messages(key=OTHER, messages=(message,)),
    )
    [found] = (await bench.store.history(OTHER, HistoryQuery(9))).messages
    assert found.create_time == YEAR_9999
    await bench.apply(*(set_context({"k": number}, key=OTHER) for number in range(3)))
    bench.clock.turn(seconds=8 * DAY)
    await compact(bench)
    assert await sequences(bench, OTHER) == []
    assert await bench.contents(OTHER) == ["x"]
    await bench.do(c.clear_history(key=OTHER))
    bench.clock.turn(seconds=8 * DAY)
    await compact(bench)
    assert await sequences(bench, OTHER) == []


async def test_events_added_to_an_empty_log_are_compacted_later(bench: Harness) -> None:
    await bench.do(create())
    bench.clock.turn(seconds=8 * DAY)
    await compact(bench)
    await bench.do(set_context({"k": 1}))
    bench.clock.turn(seconds=8 * DAY)
    await compact(bench)
    assert await sequences(bench) == []


async def test_a_history_of_bounded_length_is_compacted_as_it_moves_on(bench: Harness) -> None:
    await bench.do(create(config=SessionConfig(max_messages=2)))
    for day in range(20):
        await bench.do(add(f"m{day}"))
        bench.clock.turn(seconds=DAY)
        await compact(bench)
    assert await sequences(bench) == [16, 17, 18, 19, 20, 21]
    assert await bench.contents() == ["m18", "m19"]


async def test_compaction_examines_few_logs_at_a_time_and_none_twice(bench: Harness) -> None:
    await bench.apply(*(create(key(f"s{number}")) for number in range(5)))
    bench.clock.turn(seconds=8 * DAY)
    assert [await bench.store.compact(2) for _ in range(4)] == [2, 2, 1, 0]


async def test_all_keys_are_listed_in_order(bench: Harness) -> None:
    keys = [key("a", "t2"), key("b", "t1"), key("a", "t1"), key("c", "t1")]
    await bench.apply(*(create(each) for each in keys))
    found: list[SessionKey] = []
    while more := await bench.store.keys(found[-1] if found else None, 3):
        found += more
    assert found == sorted(keys)


async def test_a_rotated_keyring_rewraps_every_data_key_and_nothing_else(
    url: str, clock: HandClock, tmp_path: Path
) -> None:
    path, now = tmp_path / "keyring", datetime(2026, 1, 1, tzinfo=UTC)
    create_keyring(path, now=now)
    old = load_keyring(path)
    new = rotate_keyring(path, now=now)
    current = [old]
    cells = KeyringCells(lambda: current[0])
    store = open_store(
        parse_url(url), cells=cells, limits=Limits(), options=RunOptions(clock=clock, allow_unsafe=True)
    )
    await store.start()
    bench = Harness(store, clock)
    await bench.apply(
        *(create(each, data_key=cells.new_key(*each)) for each in (KEY, OTHER)),
        create(key("plain")),
        add("a"),
    )
    before = await store.session(KEY)
    current[0] = new
    steps = [await store.rewrap(None, 1)]
    while steps[-1].last is not None:
        steps.append(await store.rewrap(steps[-1].last, 1))
    assert [step.last for step in steps] == [*sorted([KEY, OTHER]), None]
    assert [(step.looked_at, step.changed) for step in steps] == [(1, 1), (1, 1), (0, 0)]
    assert (await store.rewrap(None, 9))[1:] == (2, 0, ())
    assert await store.counts() == (3, 2)
    after = await store.session(KEY)
    assert after.data_key not in (None, before.data_key)
    assert (await store.log(KEY, Sequence(0), 9)).events[0].type is EventType.CREATED
    assert await bench.contents() == ["a"]
    current[0] = old
    with pytest.raises((KeyNotAvailable, EncryptionNotConfigured)):
        await bench.contents()
    await store.close()
