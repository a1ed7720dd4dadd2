"""Wake-ups between replicas: what is sent, what is understood, and the poller that survives everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence as Seq
from contextlib import ExitStack, asynccontextmanager
from typing import Any, cast

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from sessions_server.domain.errors import SetupError, Unavailable
from sessions_server.domain.models import Event, EventType, Micros, Sequence, SessionKey
from sessions_server.domain.workspace import Published
from sessions_server.log.hints import Hints, packets, read_packet
from sessions_server.log.hub import Hub
from sessions_server.log.nats import NatsChannel
from sessions_server.log.wakeups import HEADS_AT_ONCE, Wakeups
from sessions_server.storage.postgres.hosts import Hosts
from sessions_server.storage.postgres.notify import NotifyChannel

KEY = SessionKey("default", "s")
LONGEST = "x" * 128
NOTIFY_BYTES = 8_000


def hints(**heads: int) -> Hints:
    return {SessionKey("default", name): Sequence(head) for name, head in heads.items()}


def test_a_packet_of_the_longest_ids_fits_into_a_notification() -> None:
    many = {SessionKey(LONGEST, f"{number:0128}"): Sequence(2**53) for number in range(100)}
    sent = list(packets(many))
    assert max(map(len, sent)) < NOTIFY_BYTES
    assert {key: head for packet in sent for key, head in read_packet(packet).items()} == many


@pytest.mark.parametrize(
    "packet", [b"", b"\xff", b'{"t":1}', b"1", b"[1]", b'[["t","s"]]', b'[["t","s","1"]]', b'[["t","s",1,2]]']
)
def test_invalid_packets_are_refused(packet: bytes) -> None:
    with pytest.raises(ValueError, match="a list of tenants, sessions and positions"):
        read_packet(packet)


class Wire:
    """A channel without other replicas: keeps sent packets, once allowed, and delivers what a test puts in."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []
        self.lets = asyncio.Event()
        self.receive: Callable[[bytes], None] = lambda _packet: None

    async def send(self, packets: Seq[bytes]) -> None:
        self.sent.append(list(packets))
        await self.lets.wait()

    async def listen(self, received: Callable[[bytes], None], missed: Callable[[], None]) -> None:
        self.receive = received
        await asyncio.Event().wait()


class Heads:
    """A store that is asked only for heads; returns the given ones in order, then repeats the last."""

    def __init__(self, *answers: Hints | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[int] = []
        self.was_asked = asyncio.Semaphore(0)

    async def heads(self, keys: Seq[SessionKey]) -> Hints:
        self.asked.append(len(keys))
        self.was_asked.release()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def running(
    hub: Hub, wire: Wire, store: Heads | None = None, *, poll_seconds: float = 3600
) -> AsyncIterator[Wakeups]:
    wakeups = Wakeups(hub, channel=wire, store=cast(Any, store or Heads({})), poll_seconds=poll_seconds)
    task = asyncio.create_task(wakeups.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    yield wakeups
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_hints_published_during_a_send_are_combined_with_the_newest_heads() -> None:
    wire = Wire()
    async with running(Hub(), wire) as wakeups:
        for head in range(1, 6):
            for name in ("a", "b"):
                key = SessionKey("default", name)
                wakeups.announce([Published(key, [], Sequence(head), Sequence(0))])
            await asyncio.sleep(0)
        wire.lets.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    first, second = ([read_packet(packet) for packet in packets] for packets in wire.sent)
    assert first == [hints(a=1, b=1)]
    assert second == [hints(a=5, b=5)]


async def test_an_invalid_packet_is_ignored_and_the_next_one_wakes() -> None:
    hub, wire = Hub(), Wire()
    async with running(hub, wire):
        with hub.watch(KEY) as feed:
            wire.receive(b"nonsense")
            assert feed.version == 0
            wire.receive(next(packets(hints(s=3))))
            assert feed.version == 1


async def test_after_a_failed_poll_the_next_one_finds_new_events() -> None:
    hub, store = Hub(), Heads(Unavailable("away"), RuntimeError("odd"), hints(s=3))
    async with running(hub, Wire(), store, poll_seconds=0.001):
        with hub.watch(KEY) as feed:
            await feed.changed(since=0, timeout_seconds=3600)
            assert feed.recent(Sequence(2), "") is None, "only the log has the event"
    assert len(store.asked) >= 3


async def test_a_poll_detects_a_rolled_back_log_and_empties_the_cache() -> None:
    hub, store = Hub(), Heads(hints(s=3), hints(s=1))
    with hub.watch(KEY) as feed:
        event = Event(KEY, Sequence(3), EventType.CREATED, Micros(0), "", None)
        feed.publish(Published(KEY, [event], Sequence(3), Sequence(0)))
        seen = feed.version
        async with running(hub, Wire(), store, poll_seconds=0.001):
            await feed.changed(since=seen, timeout_seconds=3600)
        assert feed.recent(Sequence(3), "") is None
        assert feed.head == 1


async def test_a_poll_asks_for_many_sessions_in_batches() -> None:
    hub, store = Hub(), Heads({})
    with ExitStack() as watched:
        for number in range(HEADS_AT_ONCE + 1):
            watched.enter_context(hub.watch(SessionKey("default", f"s{number}")))
        async with running(hub, Wire(), store, poll_seconds=0.001):
            await store.was_asked.acquire()
            await store.was_asked.acquire()
    assert store.asked[:2] == [HEADS_AT_ONCE, 1]


class Broken(Wire):
    """Raises at the first send and at the first listen."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = asyncio.Semaphore(0)
        self.listening, self.sending = asyncio.Event(), asyncio.Event()
        self._to_fail = {"send", "listen"}

    async def send(self, packets: Seq[bytes]) -> None:
        self._fail_once("send")
        self.sending.set()
        await super().send(packets)

    async def listen(self, received: Callable[[bytes], None], missed: Callable[[], None]) -> None:
        self._fail_once("listen")
        self.listening.set()
        await super().listen(received, missed)

    def _fail_once(self, what: str) -> None:
        if what in self._to_fail:
            self._to_fail.remove(what)
            self.failed.release()
            raise AssertionError("nobody expected this")


async def test_a_channel_is_used_again_after_an_unexpected_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sessions_server.log.wakeups.LISTEN_AGAIN_SECONDS", 0.001)
    wire = Broken()
    async with running(Hub(), wire) as wakeups:
        wakeups.announce([Published(KEY, [], Sequence(1), Sequence(0))])
        for _ in range(2):
            await wire.failed.acquire()
        wakeups.announce([Published(KEY, [], Sequence(2), Sequence(0))])
        await wire.listening.wait()
        await wire.sending.wait()
        wire.lets.set()
    assert [read_packet(packet) for packet in wire.sent[0]] == [hints(s=2)]


async def test_a_connection_for_notifications_may_fail_in_any_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Including the failure while no host accepts writes, which asyncpg raises as a plain exception."""
    tried = asyncio.Semaphore(0)

    async def connect(**_: object) -> None:
        tried.release()
        raise asyncpg.TargetServerAttributeNotMatched("no host is writable")

    monkeypatch.setattr("asyncpg.connect", connect)
    monkeypatch.setattr("sessions_server.storage.postgres.notify.RETRY_SECONDS", 0.001)
    channel = NotifyChannel(
        Hosts(make_url("postgresql+asyncpg://u@/d?host=h:1&target_session_attrs=read-write"))
    )
    listening = asyncio.create_task(channel.listen(lambda _packet: None, lambda: None))
    await channel.send([b"[]"])
    for _ in range(4):
        await tried.acquire()
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening


async def test_a_client_of_nats_may_fail_in_any_way(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = asyncio.Semaphore(0)

    async def fail(*_: object, **__: object) -> None:
        tried.release()
        raise AssertionError("nobody expected this")

    for method in ("connect", "close"):
        monkeypatch.setattr(f"nats.aio.client.Client.{method}", fail)
    monkeypatch.setattr("sessions_server.log.nats.RETRY_SECONDS", 0.001)
    listening = asyncio.create_task(
        NatsChannel("nats://127.0.0.1:4222").listen(lambda _packet: None, lambda: None)
    )
    for _ in range(5):
        await tried.acquire()
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "127.0.0.1:4222",
        "http://127.0.0.1",
        "nats://",
        "nats://127.0.0.1:abc",
        "nats://127.0.0.1:70000",
        "nats://:4222",
        "nats://[::1",
    ],
)
def test_only_nats_addresses_are_accepted(url: str) -> None:
    with pytest.raises(SetupError, match="such as nats://"):
        NatsChannel(url)
