"""Reads of one session: context, history, log and heads, one at a time and concurrently."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.errors import CursorAhead, EventsCompacted, KeyNotAvailable, SessionNotFound
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import (
    SECOND,
    Context,
    Event,
    EventType,
    ExpiryAction,
    JsonObject,
    MessageBody,
    MessageDraft,
    Micros,
    Persistence,
    Sequence,
    SessionConfig,
    StorageOptions,
)
from sessions_server.domain.ports import Cells, HistoryQuery
from sessions_server.log.hub import Hub
from sessions_server.security.encryption import NoKeyring
from sessions_server.service import subscriptions
from sessions_server.service.subscriptions import Subscriptions
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.databases import parse_url
from sessions_server.storage.store import open_store
from tests.conformance.harness import (
    KEY,
    OTHER,
    Harness,
    add,
    add_chosen,
    create,
    key,
    list_of,
    set_context,
    texts,
)
from tests.support import commits as c
from tests.support.clock import HandClock

if TYPE_CHECKING:
    from tests.conformance.conftest import Opener

TEN = tuple(f"m{number}" for number in range(10))


async def test_a_context_that_was_never_written_is_empty(bench: Harness) -> None:
    await bench.do(create())
    assert await bench.store.context(KEY) == Context({}, Sequence(0), bench.clock.now())


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_a_context_comes_back_equal(bench: Harness, cells: Cells, encrypted: bool) -> None:
    data: JsonObject = {
        "nul": "a\u0000b",
        "a\u0000b": 1,
        "deep": {"list": [1, 1.5, None, True, {"x": []}]},
        "": "",
    }
    await bench.do(create(data_key=cells.new_key(*KEY) if encrypted else None))
    written = await bench.do(set_context(data))
    assert await bench.store.context(KEY) == written == Context(data, Sequence(2), bench.clock.now())
    bench.clock.turn(seconds=1)
    await bench.do(set_context({}))
    assert (await bench.store.context(KEY)).data == {}


async def test_a_history_can_be_paged_backwards_and_forwards_without_a_gap(bench: Harness) -> None:
    await bench.do(create())
    for text in TEN:
        await bench.apply(add(text), set_context({"after": text}))
    newest = await bench.store.history(KEY, HistoryQuery(4))
    assert (texts(newest.messages), newest.has_more) == (list(TEN[6:]), True)
    older = await bench.store.history(KEY, HistoryQuery(4, before=newest.messages[0].sequence))
    assert (texts(older.messages), older.has_more) == (list(TEN[2:6]), True)
    oldest = await bench.store.history(KEY, HistoryQuery(4, before=older.messages[0].sequence))
    assert (texts(oldest.messages), oldest.has_more) == (list(TEN[:2]), False)
    forwards = await bench.store.history(KEY, HistoryQuery(3, after=Sequence(0)))
    assert (texts(forwards.messages), forwards.has_more) == (list(TEN[:3]), True)
    last = await bench.store.history(KEY, HistoryQuery(7, after=forwards.messages[-1].sequence))
    assert (texts(last.messages), last.has_more) == (list(TEN[3:]), False)
    between = HistoryQuery(9, after=oldest.messages[0].sequence, before=newest.messages[0].sequence)
    assert texts((await bench.store.history(KEY, between)).messages) == list(TEN[1:6])


async def test_a_history_without_a_limit_is_the_sessions_window(bench: Harness) -> None:
    await bench.apply(create(config=SessionConfig(context_window=2)), create(OTHER), add(*TEN))
    assert texts((await bench.store.history(KEY, HistoryQuery())).messages) == list(TEN[-2:])
    await bench.do(add(*(f"n{number}" for number in range(120)), key=OTHER))
    page = await bench.store.history(OTHER, HistoryQuery())
    assert (len(page.messages), page.has_more) == (Limits().default_window, True)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_a_page_of_a_history_is_limited_by_its_wire_size(
    bench: Harness, cells: Cells, encrypted: bool
) -> None:
    await bench.do(create(data_key=cells.new_key(*KEY) if encrypted else None))
    bodies = [
        MessageBody("user", data={"zeros": [0] * 30_000}) for _ in range(8)
    ]  # 60 KB as JSON, otherwise 330 KB
    drafts = tuple(MessageDraft(f"m{number}", body) for number, body in enumerate(bodies))
    await bench.do(c.add_messages(key=KEY, drafts=drafts))
    newest = await bench.store.history(KEY, HistoryQuery(1_000))
    assert ([each.id for each in newest.messages], newest.has_more) == (["m5", "m6", "m7"], True)
    oldest = await bench.store.history(KEY, HistoryQuery(1_000, after=Sequence(0)))
    assert ([each.id for each in oldest.messages], oldest.has_more) == (["m0", "m1", "m2"], True)
    last = await bench.store.history(KEY, HistoryQuery(1_000, after=Sequence(7)))
    assert ([each.id for each in last.messages], last.has_more) == (["m6", "m7"], False)


async def test_a_log_is_read_from_any_position(bench: Harness) -> None:
    await bench.apply(create(), add(*TEN))
    page = await bench.store.log(KEY, Sequence(4), 3)
    assert [event.sequence for event in page.events] == [5, 6, 7]
    assert (page.head, page.log_start, page.delete_time) == (11, 1, None)
    assert (await bench.store.log(KEY, Sequence(11), 3)).events == ()
    beyond = await bench.store.log(KEY, Sequence(99), 3)
    assert (beyond.events, beyond.head) == ((), 11)
    with pytest.raises(SessionNotFound):
        await bench.store.log(OTHER, Sequence(0), 3)


class Enough(Exception):
    """Raised when the follower has received the last event that a test needs."""


class Shown:
    """Collects what a follower receives."""

    def __init__(self, *, last: int = 0) -> None:
        self.items: list[tuple[int, EventType | None]] = []
        self._last = last

    async def event(self, event: Event) -> None:
        self.items.append((event.sequence, event.type))
        if event.sequence == self._last:
            raise Enough

    async def checkpoint(self, position: Sequence, log_id: str) -> None:
        self.items.append((position, None))


async def follow(
    bench: Harness, shown: Shown, after: int, kinds: frozenset[EventType] = frozenset(), quiet: float = 0.01
) -> None:
    subscriptions = Subscriptions(store=bench.store, hub=Hub(), checkpoint_seconds=quiet)
    await subscriptions.follow(KEY, shown, kinds=kinds, after=Sequence(after))


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_compacted_position_is_refused_before_any_response(bench: Harness, after: int) -> None:
    await bench.apply(create(), set_context({"k": 1}), set_context({"k": 2}), add("m"))
    bench.clock.turn(seconds=8 * 24 * 3600)
    while await bench.store.compact(10):
        pass
    shown = Shown()
    with pytest.raises(EventsCompacted) as caught:
        await follow(bench, shown, after)
    assert (shown.items, caught.value.metadata) == ([], {"oldest_sequence": "4"})


async def test_a_follower_receives_its_position_and_then_later_events(bench: Harness) -> None:
    await bench.apply(create(), add(*TEN), c.delete(key=KEY), create(), add("a", "b"))
    shown = Shown(last=15)
    with pytest.raises(Enough):
        await follow(bench, shown, 13)
    assert shown.items == [(13, None), (14, EventType.MESSAGE), (15, EventType.MESSAGE)]


async def test_a_follower_of_rare_events_receives_checkpoints_up_to_the_head(
    bench: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a subscriber that reconnects does not start at the beginning of the log each time."""
    monkeypatch.setattr(subscriptions, "SKIPPED", 10)
    await bench.apply(create(), *(set_context({"k": n}) for n in range(11)), add("a"), set_context({}))
    shown = Shown()
    following = asyncio.create_task(follow(bench, shown, 0, frozenset({EventType.MESSAGE}), quiet=3600))
    while len(shown.items) < 4:  # noqa: ASYNC110  # there is no signal
        await asyncio.sleep(0)
    assert shown.items == [(0, None), (10, None), (13, EventType.MESSAGE), (14, None)]
    following.cancel()


@pytest.mark.parametrize(
    "storage",
    [
        StorageOptions(Persistence.TEMPORARY, ttl=Micros(20 * SECOND)),
        StorageOptions(ttl=Micros(20 * SECOND), expiry_action=ExpiryAction.DELETE),
    ],
    ids=["temporary", "to be deleted"],
)
async def test_no_position_reveals_that_an_erased_session_existed(
    bench: Harness, storage: StorageOptions
) -> None:
    await bench.do(create(storage=storage))
    with pytest.raises(CursorAhead):
        await follow(bench, Shown(), 2)
    bench.clock.turn(seconds=20)
    for after in (2, 3, 2**62):
        with pytest.raises(SessionNotFound):
            await follow(bench, Shown(), after)
    await bench.do(c.expire(key=KEY))
    for after in (2, 3, 2**62):
        with pytest.raises(SessionNotFound):
            await follow(bench, Shown(), after)
    shown = Shown()
    await follow(bench, shown, 1)
    assert shown.items == [(1, None), (2, EventType.DELETED)]


async def test_heads_of_existing_and_erased_sessions_are_known(bench: Harness) -> None:
    await bench.apply(create(), add("a"), create(OTHER), c.delete(key=OTHER))
    assert await bench.store.heads([KEY, OTHER, key("never")]) == {KEY: 2, OTHER: 2}
    assert await bench.store.heads([]) == {}


async def test_each_concurrent_read_gets_its_own_result(bench: Harness) -> None:
    keys = [key(f"s{number}") for number in range(20)]
    await bench.apply(
        *(command for each in keys for command in (create(each), add(f"of {each.session_id}", key=each)))
    )
    wanted = [each for each in (*keys, key("missing")) for _ in range(5)]
    sessions = asyncio.gather(*map(bench.store.session, wanted), return_exceptions=True)
    contexts = asyncio.gather(*map(bench.store.context, wanted), return_exceptions=True)
    histories = asyncio.gather(
        *(bench.store.history(each, HistoryQuery(number % 3)) for number, each in enumerate(wanted)),
        return_exceptions=True,
    )
    logs = asyncio.gather(*(bench.store.log(each, Sequence(1), 9) for each in wanted), return_exceptions=True)
    for each, session, context, history, log in zip(
        wanted, await sessions, await contexts, await histories, await logs, strict=True
    ):
        if each not in keys:
            assert all(isinstance(answer, SessionNotFound) for answer in (session, context, history, log))
            continue
        assert not isinstance(session, BaseException)
        assert not isinstance(context, BaseException)
        assert not isinstance(history, BaseException)
        assert not isinstance(log, BaseException)
        assert session.key == each
        assert texts(history.messages) == [f"of {each.session_id}"]
        assert [event.key for event in log.events] == [each]


async def test_a_read_sees_every_earlier_acknowledged_write(bench: Harness) -> None:
    await bench.do(create())
    stop = asyncio.Event()
    acknowledged = 0

    async def read() -> None:
        while not stop.is_set():
            least = acknowledged
            assert (await bench.store.session(KEY)).message_count >= least
            assert (await bench.store.log(KEY, Sequence(0), 1)).head >= least
            assert len(await bench.contents()) >= least

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(read())
        for number in range(30):
            await bench.do(add(f"m{number}"))
            acknowledged = number + 1
        stop.set()


async def test_one_sessions_missing_key_affects_no_other(
    lasting_url: str, opener: Opener, clock: HandClock, cells: Cells
) -> None:
    store = opener(lasting_url)
    await store.start()
    await Harness(store, clock).apply(
        create(data_key=cells.new_key(*KEY)),
        add("a"),
        set_context({"k": 1}),
        create(OTHER),
        add("b", key=OTHER),
    )
    await store.close()
    store = open_store(
        parse_url(lasting_url),
        cells=NoKeyring(),
        limits=Limits(),
        options=RunOptions(clock=clock, allow_unsafe=True),
    )
    await store.start()
    bench = Harness(store, clock)
    outcomes = await asyncio.gather(
        bench.store.session(KEY),
        bench.store.context(OTHER),
        bench.contents(OTHER),
        bench.store.context(KEY),
        bench.contents(),
        bench.store.log(KEY, Sequence(0), 9),
        bench.do(add("c")),
        return_exceptions=True,
    )
    assert [isinstance(outcome, KeyNotAvailable) for outcome in outcomes] == [False] * 3 + [True] * 4
    await store.close()


async def test_reads_use_the_databases_own_clock_when_none_is_given(lasting_url: str, cells: Cells) -> None:
    store = open_store(
        parse_url(lasting_url), cells=cells, limits=Limits(), options=RunOptions(allow_unsafe=True)
    )
    await store.start()
    bench = Harness(store, HandClock())
    await bench.do(create(config=SessionConfig(timeout=Micros(1 * SECOND))))
    made = await store.session(KEY)
    assert made.create_time > HandClock().now()
    assert await bench.listed(list_of()) == ["s"]
    await store.ping()
    await store.close()


@pytest.mark.parametrize("what", ["history", "log"])
async def test_a_page_of_large_messages_reads_little_more_than_it_returns(bench: Harness, what: str) -> None:
    await bench.do(create())
    for number in range(100):
        await bench.do(add_chosen(f"m{number}", "x" * 200_000))
    tracemalloc.start()
    try:
        if what == "history":
            page = await bench.store.history(KEY, HistoryQuery(1_000))
            assert (len(page.messages), page.has_more) == (5, True)
        else:
            assert len((await bench.store.log(KEY, Sequence(0), 256)).events) == 6
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000, "all of them together have 20 MB"
