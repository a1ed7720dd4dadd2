"""Wakes whoever watches a session, and keeps its newest events at hand.

The log is the truth, the ring of recent events a cache, a wake-up a hint: nothing is lost when either is. No queue per
watcher; a slow one holds a cursor, and when it falls out of the ring it reads the log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sessions_server.domain.codec import encode_change
from sessions_server.domain.jsonbytes import dumps
from sessions_server.domain.models import ContextChange, Event, Message, Sequence, SessionKey, Updated

if TYPE_CHECKING:
    from sessions_server.domain.replica_ports import Waiter
    from sessions_server.domain.workspace import Published

RING_EVENTS = 1024
RING_CHARACTERS = 1_000_000
"""About how much a ring holds in all."""


class Feed:
    """What is known of one watched session; shared by all its watchers."""

    def __init__(self) -> None:
        self.version = 0
        self.erased_through = Sequence(0)
        self.erasures = 0
        self.foreign = 0
        self.watchers = 0
        self.head = Sequence(0)
        self._log_id = ""
        """Of the log that the ring's events are of; empty: not known."""
        self._ring: deque[Event] = deque()
        self._weights: deque[int] = deque()
        self._characters = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def recent(self, after: Sequence, log_id: str) -> list[Event] | None:
        """The events after a position in the log with this identity, if they are all at hand; empty at the head; None:
        ask the log."""
        if not self._ring or self.head > self._ring[-1].sequence or after + 1 < self._ring[0].sequence:
            return None
        if log_id != self._log_id or after > self._ring[-1].sequence:
            return None
        if after + 1 == self._ring[-1].sequence:  # what most of those who are woken ask for
            return [self._ring[-1]]
        skipped = after + 1 - self._ring[0].sequence
        return [self._ring[index] for index in range(skipped, len(self._ring))]

    async def changed(self, since: int, timeout_seconds: float, *, beside: set[Waiter] | None = None) -> None:
        """Returns when the version is no longer `since`, after the timeout at the latest; at times without cause. Waits
        with a future that is also in `beside`, so that others can end the wait."""
        if self.version != since or timeout_seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        self._look_up_at(loop, loop.time() + timeout_seconds)
        woken = loop.create_future()
        self._waiting.add(woken)
        if beside is not None:
            beside.add(woken)
        try:
            await woken
        finally:
            self._waiting.discard(woken)
            if beside is not None:
                beside.discard(woken)

    def publish(self, published: Published) -> None:
        """What this process has made durable; without its events when they were too many to be kept in mind."""
        events = published.events
        self.erased_through = max(self.erased_through, published.erased_through)
        self.erasures += bool(published.erased_through)
        if events and events[0].sequence <= self.head:
            self.distrust()
        if published.log_id != self._log_id:
            self._forget_ring()
            self._log_id = published.log_id
        self.head = max(self.head, published.head)
        if not events or (self._ring and self._ring[-1].sequence + 1 != events[0].sequence):
            self._forget_ring()  # another replica wrote in between, or a series, whose events are in the log only
        for event in events:
            self._ring.append(event)
            self._weights.append(_characters(event))
            self._characters += self._weights[-1]
        self._forget_before(Sequence(published.erased_through + 1))
        while len(self._ring) > RING_EVENTS or self._characters > RING_CHARACTERS:
            self._forget_oldest()
        self.wake()

    def hint(self, head: Sequence) -> None:
        """The log has reached a position, as another replica says."""
        if head > self.head and not (self._ring and self._ring[-1].sequence >= head):
            self.head = head
            self.foreign += 1
            self.wake()

    def compare(self, head: Sequence, seen: int) -> None:
        """A read of the log that was begun at version `seen` found its head there. If the head was further before, the
        log has gone back."""
        if head < self.head and seen == self.version:
            self.distrust()

    def forget(self) -> None:
        """Whatever is at hand may be out of date; everyone looks into the log."""
        self._forget_ring()
        self.foreign += 1
        self.wake()

    def distrust(self) -> None:
        """The log may have gone back: what is at hand may not be in it any more."""
        self.head = Sequence(0)
        self.forget()

    def close(self) -> None:
        """Nobody watches any more."""
        self._cancel_timer()

    def wake(self) -> None:
        self.version += 1
        self._wake_waiting()

    def _look_up_at(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        """Has one timer wake all that wait: with a timer for each, an event would cost every watcher a new one."""
        if self._timer is None or when < self._timer_at:
            self._cancel_timer()
            self._timer, self._timer_at = loop.call_at(when, self._look_up), when

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look_up(self) -> None:
        self._timer = None
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for woken in waiting:
            _wake(woken)

    def _forget_ring(self) -> None:
        self._ring.clear()
        self._weights.clear()
        self._characters = 0

    def _forget_before(self, sequence: Sequence) -> None:
        while self._ring and self._ring[0].sequence < sequence:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._ring.popleft()
        self._characters -= self._weights.popleft()


class Hub:
    def __init__(self, feeds: Callable[[], Feed] = Feed) -> None:
        self._feeds: dict[SessionKey, Feed] = {}
        self._new_feed = feeds

    @contextmanager
    def watch(self, key: SessionKey) -> Iterator[Feed]:
        """Registers interest in a session, for as long as the context lasts."""
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = self._new_feed()
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                feed.close()
                del self._feeds[key]

    def publish(self, published: list[Published]) -> None:
        """What this process has just made durable."""
        for change in published:
            if (feed := self._feeds.get(change.key)) is not None:
                feed.publish(change)

    def watched(self) -> dict[SessionKey, int]:
        """The sessions, and the versions of their feeds."""
        return {key: feed.version for key, feed in self._feeds.items()}

    def hint(self, key: SessionKey, head: Sequence) -> None:
        if (feed := self._feeds.get(key)) is not None:
            feed.hint(head)

    def looked(self, heads: Mapping[SessionKey, Sequence], seen: Mapping[SessionKey, int]) -> None:
        """What a read of the logs' heads found that was begun when the feeds had these versions."""
        for key, head in heads.items():
            if (feed := self._feeds.get(key)) is not None and key in seen:
                feed.compare(head, seen[key])
                feed.hint(head)

    def forget_all(self) -> None:
        """Hints may have been lost: everyone looks into the log."""
        for feed in self._feeds.values():
            feed.forget()

    def distrust_all(self) -> None:
        """The database has failed over to a server that may lack what was shown last: everyone looks into the log."""
        for feed in self._feeds.values():
            feed.distrust()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _characters(event: Event) -> int:
    """How much an event weighs in memory, roughly: a flat sum, and its texts and JSON."""
    if isinstance(event.data, (ContextChange, Updated)):
        return 200 + sum(map(len, event.data.paths)) + len(encode_change(event.data) or b"")
    if not isinstance(event.data, Message):
        return 200
    body = event.data.body
    values = (value for value in (body.data, body.metadata) if value is not None)
    return 200 + len(body.content) + len(body.payload) + sum(len(dumps(value)) for value in values)
