"""Expiry as readers see it: exact to the microsecond, and the same whether recorded or not."""

from __future__ import annotations

import pytest

from sessions_server.domain.errors import InvalidState, SessionNotFound
from sessions_server.domain.models import (
    SECOND,
    EventType,
    ExpiryAction,
    Micros,
    Sequence,
    SessionConfig,
    State,
    StorageOptions,
)
from sessions_server.domain.ports import HistoryQuery
from tests.conformance.harness import KEY, OTHER, Harness, add, create, key, list_of, move
from tests.support import commits as c

IDLE = SessionConfig(timeout=Micros(10 * SECOND))
KEPT = StorageOptions(ttl=Micros(20 * SECOND))
ARCHIVED = StorageOptions(ttl=Micros(20 * SECOND), expiry_action=ExpiryAction.ARCHIVE)
DELETED = StorageOptions(ttl=Micros(20 * SECOND), expiry_action=ExpiryAction.DELETE)


@pytest.mark.parametrize("recorded", [False, True], ids=["not yet recorded", "recorded"])
async def test_an_idle_session_expires_at_the_microsecond_for_every_read(
    bench: Harness, recorded: bool
) -> None:
    await bench.apply(create(config=IDLE), add("a"))
    bench.clock.turn(seconds=10, micros=-1)
    assert (await bench.store.session(KEY)).state is State.CREATED
    assert await bench.listed(list_of(states=[State.EXPIRED])) == []
    assert await bench.due(10) == []
    bench.clock.turn(micros=1)
    assert await bench.due(10) == [KEY]
    if recorded:
        await bench.do(c.expire(key=KEY))
        assert await bench.due(10) == []
    assert (await bench.store.session(KEY)).state is State.EXPIRED
    assert await bench.listed(list_of(states=[State.EXPIRED])) == ["s"]
    assert await bench.listed(list_of(states=[State.CREATED])) == []
    assert await bench.listed(list_of()) == ["s"]
    assert await bench.contents() == ["a"]
    with pytest.raises(InvalidState):
        await bench.do(add("b"))


async def test_a_write_just_before_the_timeout_postpones_the_expiry(bench: Harness) -> None:
    await bench.do(create(config=IDLE))
    bench.clock.turn(seconds=10, micros=-1)
    await bench.do(add("a"))
    bench.clock.turn(seconds=10, micros=-1)
    assert (await bench.store.session(KEY)).state is State.CREATED


async def test_an_expiry_is_recorded_once_with_its_event_by_the_next_write(bench: Harness) -> None:
    await bench.do(create(config=IDLE))
    bench.clock.turn(seconds=30)
    etag = (await bench.store.session(KEY)).revision
    await bench.apply(c.expire(key=KEY), c.expire(key=KEY))
    await bench.do(c.expire(key=KEY))
    page = await bench.store.log(KEY, Sequence(0), 10)
    assert [event.type for event in page.events] == [EventType.CREATED, EventType.STATE_CHANGE]
    assert page.events[1].time == bench.clock.now() - 20 * SECOND
    assert (await bench.store.session(KEY)).revision == etag


@pytest.mark.parametrize(
    ("storage", "state"), [(KEPT, State.EXPIRED), (ARCHIVED, State.ARCHIVED)], ids=["retained", "archived"]
)
async def test_two_expiries_in_a_row_are_both_seen_before_either_is_recorded(
    bench: Harness, storage: StorageOptions, state: State
) -> None:
    await bench.do(create(config=IDLE, storage=storage))
    bench.clock.turn(seconds=20, micros=-1)
    assert await bench.listed(list_of(states=[State.EXPIRED])) == ["s"]
    bench.clock.turn(micros=1)
    assert await bench.listed(list_of(states=[state])) == ["s"]
    assert await bench.listed(list_of(states=set(State) - {state})) == []
    assert (await bench.store.session(KEY)).state is state
    await bench.do(c.expire(key=KEY))
    assert await bench.listed(list_of(states=[state])) == ["s"]
    assert await bench.due(10) == []


@pytest.mark.parametrize("config", [SessionConfig(), IDLE], ids=["ttl alone", "after an idle timeout"])
async def test_an_expired_temporary_session_is_gone_at_the_microsecond_for_every_read(
    bench: Harness, config: SessionConfig
) -> None:
    await bench.apply(create(config=config, storage=DELETED), add("a"))
    bench.clock.turn(seconds=20, micros=-1)
    await bench.store.session(KEY)
    await bench.store.context(KEY)
    assert await bench.contents() == ["a"]
    bench.clock.turn(micros=1)
    for read in (
        bench.store.session(KEY),
        bench.store.context(KEY),
        bench.store.history(KEY, HistoryQuery()),
    ):
        with pytest.raises(SessionNotFound):
            await read
    assert await bench.listed(list_of(states=State)) == []
    page = await bench.store.log(KEY, Sequence(1), 10)
    assert (page.events, page.head, page.delete_time) == ((), 1, None)
    with pytest.raises(SessionNotFound):
        await bench.do(add("b"))
    assert (await bench.store.log(KEY, Sequence(1), 10)).delete_time == bench.clock.now()


async def test_an_id_is_free_as_soon_as_its_session_is_erased_by_expiry(bench: Harness) -> None:
    await bench.do(create(storage=DELETED, metadata={"old": 1}))
    bench.clock.turn(seconds=20)
    await bench.do(create(metadata={"new": 1}))
    session = await bench.store.session(KEY)
    assert (session.metadata, session.last_sequence) == ({"new": 1}, 3)


async def test_the_longest_overdue_expiry_comes_first(bench: Harness) -> None:
    await bench.do(create(OTHER, config=IDLE))
    bench.clock.turn(seconds=1)
    await bench.apply(create(config=IDLE), create(key("never")))
    bench.clock.turn(seconds=60)
    assert await bench.due(10) == [OTHER, KEY]
    assert await bench.due(1) == [OTHER]


async def test_the_idle_timer_of_a_paused_session_is_stopped(bench: Harness) -> None:
    await bench.apply(create(config=IDLE), move(c.Verb.START), move(c.Verb.PAUSE))
    bench.clock.turn(seconds=60)
    assert await bench.due(10) == []
    assert await bench.listed(list_of(states=[State.PAUSED])) == ["s"]
