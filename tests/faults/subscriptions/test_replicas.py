"""What one replica's subscribers see of another replica's writes: possibly late, but nothing that was erased."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from sessions_server.domain.limits import Limits
from sessions_server.domain.models import Event, EventType, Message, Sequence
from sessions_server.log.hub import Hub
from sessions_server.security.encryption import open_cells
from sessions_server.service import subscriptions as service
from sessions_server.service.subscriptions import CATCHING_UP, NEAR, Subscriptions
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.sqlite.backend import SqliteBackend
from sessions_server.storage.store import open_store
from tests.conformance.harness import KEY, Harness, add, create
from tests.support import commits as c
from tests.support.clock import HandClock

FOREVER = 3600.0


@dataclass
class Replica:
    """One replica's hub and subscriptions, over a database that it shares with others."""

    log: Harness
    hub: Hub
    subscriptions: Subscriptions

    async def writes(self, command: c.Commit) -> None:
        await self.log.do(command)
        self.hub.publish(self.log.published)

    async def another_writes(self, command: c.Commit, *, hinted: bool) -> None:
        await self.log.do(command)
        if hinted:
            self.hub.hint(KEY, self.log.published[-1].head)

    @asynccontextmanager
    async def reader(self, after: int | None = 0) -> AsyncIterator[Reader]:
        """A reader that is established and has taken at most one event."""
        reader, position = Reader(), None if after is None else Sequence(after)
        reader.following = following = asyncio.create_task(
            self.subscriptions.follow(KEY, reader, kinds=frozenset(), after=position)
        )
        try:
            await reader.until(lambda: reader.is_established)
            yield reader
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@dataclass
class Reader:
    """Takes the first event, and each further one when allowed."""

    events: list[Event] = field(default_factory=list)
    is_established: bool = False
    may_continue: asyncio.Event = field(default_factory=asyncio.Event)
    following: asyncio.Task[None] | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def checkpoint(self, position: Sequence, log_id: str) -> None:
        async with self._news:
            self.is_established = True
            self._news.notify_all()

    async def event(self, event: Event) -> None:
        async with self._news:
            self.events.append(event)
            self._news.notify_all()
        await self.may_continue.wait()

    async def has_through(self, sequence: int) -> None:
        await self.until(lambda: bool(self.events) and self.events[-1].sequence >= sequence)

    async def until_stalled(self) -> None:
        await self.until(lambda: bool(self.events))

    async def until(self, happened: Callable[[], bool]) -> None:
        """Fails if the subscription ends before that."""
        assert self.following is not None
        waiting = asyncio.create_task(self._wait(happened))
        await asyncio.wait({waiting, self.following}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not happened():
            [ended] = await asyncio.gather(self.following, return_exceptions=True)
            pytest.fail(f"The subscription ended after {self.shown()}, with {ended!r}.")

    async def _wait(self, happened: Callable[[], bool]) -> None:
        async with self._news:
            await self._news.wait_for(happened)

    def shown(self) -> list[tuple[int, str | None]]:
        """The sequences, and the text of every message that arrived with content."""
        return [
            (one.sequence, one.data.body.content if isinstance(one.data, Message) else None)
            for one in self.events
        ]


@pytest.fixture
async def replica(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Replica]:
    monkeypatch.setattr(service, "LONGEST_TURN_SECONDS", FOREVER)
    clock = HandClock()
    store = open_store(
        SqliteBackend(None), cells=open_cells(None), limits=Limits(), options=RunOptions(clock=clock)
    )
    await store.start()
    hub = Hub()
    subscriptions = Subscriptions(store=store, hub=hub, checkpoint_seconds=FOREVER)
    replica = Replica(Harness(store, clock), hub, subscriptions)
    await replica.writes(create())
    yield replica
    await store.close()


CLEAR = c.clear_history(key=KEY)


async def test_an_event_of_another_replica_is_shown_in_order(replica: Replica) -> None:
    async with replica.reader(after=None) as reader:
        reader.may_continue.set()
        await replica.writes(add("two"))
        await reader.has_through(2)
        await replica.another_writes(add("three"), hinted=False)
        await replica.writes(add("four"))
        await replica.another_writes(add("five"), hinted=True)
        await reader.has_through(5)
        assert reader.shown() == [(2, "two"), (3, "three"), (4, "four"), (5, "five")]


async def test_messages_cleared_by_another_replica_reach_a_stalled_stream_without_content(
    replica: Replica,
) -> None:
    await replica.writes(add("two", "three", "four"))
    async with replica.reader(after=1) as reader:
        await reader.until_stalled()
        await replica.another_writes(CLEAR, hinted=True)
        reader.may_continue.set()
        await reader.has_through(5)
        assert reader.shown() == [(2, "two"), (3, None), (4, None), (5, None)]


async def test_a_new_stream_shows_nothing_cleared_by_another_replica_even_without_a_hint(
    replica: Replica,
) -> None:
    async with replica.reader(after=None):
        await replica.writes(add("two", "three"))
        await replica.another_writes(CLEAR, hinted=False)
        async with replica.reader(after=1) as reader:
            reader.may_continue.set()
            await reader.has_through(4)
            assert reader.shown() == [(2, None), (3, None), (4, None)]


async def test_lost_hints_send_every_stream_to_the_log(replica: Replica) -> None:
    async with replica.reader(after=None) as reader:
        reader.may_continue.set()
        await replica.another_writes(add("two"), hinted=False)
        replica.hub.forget_all()
        await reader.has_through(2)
        assert reader.shown() == [(2, "two")]


async def test_the_session_is_watched_before_the_first_read_and_until_the_stream_ends(
    replica: Replica,
) -> None:
    async with replica.reader():
        assert list(replica.hub.watched()) == [KEY]
    assert list(replica.hub.watched()) == []


async def test_a_deletion_by_another_replica_ends_the_stream(replica: Replica) -> None:
    async with replica.reader(after=None) as reader:
        reader.may_continue.set()
        await replica.another_writes(c.delete(key=KEY), hinted=True)
        await reader.has_through(2)
        assert [event.type for event in reader.events] == [EventType.DELETED]


@pytest.mark.parametrize("after", [None, 0], ids=["from now on", "from the start"])
async def test_a_deletion_is_shown_although_the_id_is_created_again_at_once(
    replica: Replica, after: int | None
) -> None:
    """What the log has by then begins after the position: the end of the first session is not in it."""
    async with replica.reader(after=after) as reader:
        reader.may_continue.set()
        if after == 0:
            await reader.has_through(1)
        await replica.log.apply(c.delete(key=KEY), create(), add("of another session"))
        replica.hub.hint(KEY, replica.log.published[-1].head)
        await reader.has_through(2)
        assert [event.type for event in reader.events][-1:] == [EventType.DELETED]
        assert reader.shown()[-1] == (2, None)


CROWD = 1000


async def test_starting_a_thousand_streams_does_not_delay_live_ones_or_reads(
    replica: Replica,
) -> None:
    """Each stalls at its first event, so that all would be in memory at once."""
    for number in range(NEAR):
        await replica.writes(add(str(number)))
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(replica.reader(after=None))
        live.may_continue.set()
        readers = [await stack.enter_async_context(replica.reader(after=0)) for _ in range(CROWD)]
        await replica.writes(add("live"))
        await live.has_through(NEAR + 2)
        assert (await replica.log.store.session(KEY)).last_sequence == NEAR + 2
        for place in range(0, CROWD, CATCHING_UP):
            served, waiting = readers[place : place + CATCHING_UP], readers[place + CATCHING_UP :]
            for reader in served:
                await reader.until_stalled()
            assert not any(reader.events for reader in waiting)
            for reader in served:
                reader.may_continue.set()
                await reader.has_through(NEAR + 2)
        assert all(len(reader.events) == NEAR + 2 for reader in readers)
