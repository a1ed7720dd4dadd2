"""Drafts between two replicas over a lossy bus: copies are right or gone, and end as the drafts do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sessions_server.domain.drafts import Abandon, DraftOpening, DraftState, DraftWrite, Piece
from sessions_server.domain.errors import Unavailable
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import MessageBody, Micros, SessionKey
from sessions_server.log.hub import Hub
from sessions_server.log.writer import Writer
from sessions_server.security.encryption import open_cells
from sessions_server.service import draft_boards, draft_exchange, draft_link
from sessions_server.service.draft_boards import DraftBoards
from sessions_server.service.draft_exchange import DraftExchange
from sessions_server.service.drafts import DraftCommit, Drafts
from sessions_server.service.subscriptions import Subscriptions
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.databases import parse_url
from sessions_server.storage.store import Store, open_store
from tests.conformance.harness import KEY
from tests.support import commits as c
from tests.support.clock import HandClock


class Air:
    """The medium that all buses share. Loses some of the packets."""

    def __init__(self, loss: float = 0.0) -> None:
        self.loss = loss
        self.buses: list[Bus] = []
        self.packets: list[bytes] = []
        self._chance = random.Random(7)

    def carry(self, sender: Bus, key: SessionKey, data: bytes) -> None:
        self.packets.append(data)
        for bus in self.buses:
            if bus is not sender and key in bus.joined and self._chance.random() >= self.loss:
                bus.received(key, data)


class Bus:
    pace_seconds = 0.001

    def __init__(self, air: Air) -> None:
        self._air = air
        self.joined: set[SessionKey] = set()
        self.received: Callable[[SessionKey, bytes], None] = lambda key, data: None
        air.buses.append(self)

    def join(self, key: SessionKey) -> None:
        self.joined.add(key)

    def leave(self, key: SessionKey) -> None:
        self.joined.discard(key)

    async def send(self, packets: Sequence[tuple[SessionKey, bytes]]) -> None:
        for key, data in packets:
            self._air.carry(self, key, data)

    async def run(self, received: Callable[[SessionKey, bytes], None], missed: Callable[[], None]) -> None:
        self.received = received
        await asyncio.Event().wait()


class Replica:
    """The drafts of one process."""

    def __init__(self, air: Air, store: Store, hub: Hub, writer: Writer, clock: HandClock) -> None:
        limits, cells = Limits(), open_cells(None)
        self._clock = clock
        subscriptions = Subscriptions(store=store, hub=hub, checkpoint_seconds=30)
        self.bus = Bus(air)
        self.boards = DraftBoards(subscriptions=subscriptions, most_bytes=1024**2)
        self.exchange = DraftExchange(self.boards, self.bus, store=store, cells=cells, clock=clock)
        self.drafts = Drafts(
            self.boards, self.exchange, commits=writer, store=store, clock=clock, limits=limits
        )

    async def write(self, text: str, position: int = 0) -> int:
        self._clock.turn(micros=1)
        opening = DraftOpening("m", "assistant", "", Abandon.DISCARD, Micros(60_000_000))
        written = await self.drafts.write(DraftWrite(KEY, opening, "", position, text, discard=False))
        return written.position

    async def hears_of(self, viewers: int, position: int) -> None:
        """Waits until the writer sees this many viewers."""
        opening = DraftOpening("m", "", "", Abandon.DISCARD, Micros(60_000_000))
        write = DraftWrite(KEY, opening, "", position, "", discard=False)
        while (await self.drafts.write(write)).watchers != viewers:  # noqa: ASYNC110  # polled with writes
            await asyncio.sleep(0.001)

    async def discard(self) -> None:
        opening = DraftOpening("m", "", "", Abandon.DISCARD, Micros(60_000_000))
        await self.drafts.write(DraftWrite(KEY, opening, "", 0, "", discard=True))

    async def commit(self, content: str) -> None:
        body = MessageBody(role="assistant", content=content)
        await self.drafts.commit(DraftCommit(KEY, "m", body, None))

    async def settle(self) -> None:
        """Returns when it has sent all that it has to send, and done what it has begun."""
        await self.exchange.flush()
        await asyncio.gather(*self.exchange._tasks)

    async def holds(self, count: int) -> None:
        """Waits until it has this many drafts."""
        while self.boards.count() != count:  # noqa: ASYNC110  # there is no signal to wait for
            await asyncio.sleep(0.001)

    @asynccontextmanager
    async def viewer(self) -> AsyncIterator[Screen]:
        screen = Screen()
        with self.drafts.view(KEY, screen.show, 0.0) as viewer:

            async def watch() -> None:
                while True:
                    if viewer.is_due:
                        board = self.boards.find(KEY)
                        assert board is not None
                        await viewer.show(board.position)
                    woken = asyncio.get_running_loop().create_future()
                    viewer.waiting.add(woken)
                    await woken
                    viewer.waiting.discard(woken)

            task = asyncio.create_task(watch())
            try:
                yield screen
            finally:
                task.cancel()


class Screen:
    """What one viewer sees."""

    def __init__(self) -> None:
        self.text = ""
        self.states: list[DraftState] = []
        self._changed = asyncio.Event()

    async def show(self, piece: Piece) -> None:
        if piece.state is DraftState.WRITING:
            assert piece.start in (0, len(self.text))
            self.text = self.text[: piece.start] + piece.text
        else:
            self.text = ""
            self.states.append(piece.state)
        self._changed.set()

    async def sees(self, text: str) -> None:
        while self.text != text:
            assert text.startswith(self.text)
            self._changed.clear()
            await self._changed.wait()

    async def ends(self, state: DraftState) -> None:
        while state not in self.states:
            self._changed.clear()
            await self._changed.wait()


@asynccontextmanager
async def replicas(air: Air, count: int = 2) -> AsyncIterator[list[Replica]]:
    """Replicas over one store, with a session."""
    url = "sqlite+aiosqlite:///:memory:"
    store = open_store(parse_url(url), cells=open_cells(None), limits=Limits(), options=RunOptions())
    await store.start()
    hub = Hub()
    writer = Writer(store, announce=hub.publish)
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(writer.run())
        await writer.submit(c.create(key=KEY))
        clock = HandClock()
        found = [Replica(air, store, hub, writer, clock) for _ in range(count)]
        running = [tasks.create_task(replica.drafts.run()) for replica in found]
        await asyncio.sleep(0)
        yield found
        for replica in found:
            await replica.boards.close()
        for task in running:
            task.cancel()
        writer.close()
        await writing
    await store.close()


@pytest.mark.parametrize("loss", [0.0, 0.3])
async def test_a_copy_becomes_complete_whatever_is_lost(loss: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft_exchange, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(draft_link, "UNWANTED_BEAT_SECONDS", 0.01)
    async with replicas(Air(loss)) as (owner, other), other.viewer() as screen:
        position, text = 0, ""
        for number in range(150):
            position = await owner.write(f"{number} ", position)
            text += f"{number} "
            await asyncio.sleep(0.001 if number % 10 else 0.01)
        await screen.sees(text)
        async with other.viewer() as late:
            await late.sees(text)
        assert screen.states == []


async def test_nothing_is_sent_without_viewers_elsewhere() -> None:
    air = Air()
    async with replicas(air) as (owner, _), owner.viewer() as screen:
        await owner.write("Hello")
        await screen.sees("Hello")
        await owner.settle()
        assert air.packets, "others learn that there is a draft"
        assert not [packet for packet in air.packets if b"Hello" in packet]


async def test_the_writer_learns_the_number_of_viewers_on_all_replicas() -> None:
    async with replicas(Air(), 3) as (owner, second, third), second.viewer() as screen, third.viewer():
        position = await owner.write("Hello")
        await screen.sees("Hello")
        async with second.viewer() as late:
            await late.sees("Hello")
            await owner.hears_of(3, position)
        await owner.hears_of(2, position)


async def test_a_replica_that_receives_a_write_takes_over_the_draft() -> None:
    async with replicas(Air(), 3) as (first, second, third), third.viewer() as screen:
        position = await first.write("Hello")
        await screen.sees("Hello")
        assert await second.write(" world", position) == 0
        assert await second.write("Hello world") > position
        await screen.sees("Hello world")
        assert await first.write("!", 11) == 0
        await first.write("Hello world!")
        await screen.sees("Hello world!")
        assert screen.states == []


async def test_the_copies_of_a_silent_owner_are_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft_exchange, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(draft_exchange, "SILENT_SECONDS", 0.2)
    air = Air()
    async with replicas(air) as (owner, other), other.viewer() as screen:
        await owner.write("Hello")
        await screen.sees("Hello")
        air.loss = 1.0
        await screen.ends(DraftState.ABANDONED)
        air.loss = 0.0
        await screen.sees("Hello")


async def test_a_draft_is_discarded_from_any_replica() -> None:
    async with replicas(Air()) as (owner, other), other.viewer() as screen:
        await owner.write("Hello")
        await screen.sees("Hello")
        await other.discard()
        await screen.ends(DraftState.DISCARDED)
        await owner.holds(0)


async def test_a_message_of_any_replica_ends_the_draft_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft_exchange, "BEAT_SECONDS", 0.01)
    air = Air()
    async with replicas(air) as (owner, other), other.viewer() as screen:
        await owner.write("Hel")
        await screen.sees("Hel")
        late = list(air.packets)
        await other.commit("Hello")
        await owner.holds(0)
        await other.holds(0)
        for packet in late:  # they arrive again, long after
            other.bus.received(KEY, packet)
        await other.settle()
        assert (other.boards.count(), screen.text, screen.states) == (0, "Hel", [])


async def test_drafts_survive_a_database_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft_boards, "RETRY_SECONDS", 0.01)
    follow, outages, is_back = Subscriptions.follow, iter(range(2)), asyncio.Event()

    async def fail_twice(self: Subscriptions, *args: Any, **options: Any) -> None:
        if next(outages, None) is not None:
            raise Unavailable("The database is away; retry in a moment.")
        is_back.set()
        await follow(self, *args, **options)

    monkeypatch.setattr(Subscriptions, "follow", fail_twice)
    async with replicas(Air()) as (owner, other), owner.viewer() as screen:
        position = await owner.write("Hel")
        await screen.sees("Hel")
        await is_back.wait()
        await owner.write("lo", position)
        await screen.sees("Hello")
        await other.commit("Hello")
        await owner.holds(0)
        assert screen.states == []


async def test_a_late_packet_starts_no_copy_of_a_stored_message() -> None:
    air = Air()
    async with replicas(air) as (owner, other):
        async with other.viewer() as screen:
            await owner.write("Hello")
            await screen.sees("Hello")
            late = list(air.packets)
            await owner.commit("Hello")
            await other.holds(0)
        async with other.viewer() as newcomer:
            await other.settle()
            for packet in late:
                other.bus.received(KEY, packet)
            await other.settle()
            assert (other.boards.count(), newcomer.text) == (0, "")


async def test_ended_drafts_leave_nothing() -> None:
    async with replicas(Air()) as (owner, other), other.viewer():
        for number in range(200):
            opening = DraftOpening(f"m-{number}", "assistant", "", Abandon.DISCARD, Micros(60_000_000))
            await owner.drafts.write(DraftWrite(KEY, opening, "", 0, "Hello", discard=False))
            if number >= 10:
                gone = DraftOpening(f"m-{number - 10}", "", "", Abandon.DISCARD, Micros(60_000_000))
                await owner.drafts.write(DraftWrite(KEY, gone, "", 0, "", discard=True))
        assert owner.boards.count() == 10
