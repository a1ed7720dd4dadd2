"""Wakes the watchers of a session, and caches its newest events.

The log is the truth, the ring of recent events is a cache, and a wake-up is a hint: losing either loses nothing. There
is no queue per watcher: a slow one has a cursor, and reads the log when it falls out of the ring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sessions_server.domain.codec import encode_change
from sessions_server.domain.jsonbytes import dumps
from sessions_server.domain.models import ContextChange, Event, Message, Sequence, SessionKey, Updated

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sessions_server.domain.replica_ports import Waiter
    from sessions_server.domain.workspace import Published

RING_EVENTS = 1024
RING_CHARACTERS = 1_000_000
"""The approximate total size of a ring."""


class Feed:
    """The state of one watched session; shared by all its watchers."""

    def __init__(self) -> None:
        self.version = 0
        self.erased_through = Sequence(0)
        self.erasures = 0
        self.foreign = 0
        self.watchers = 0
        self.head = Sequence(0)
        self._log_id = ""
        """The log that the ring's events belong to; empty if not known."""
        # Lists, since an empty deque takes 760 bytes, and most sessions with an idle watcher have no recent events.
        self._ring: list[Event] = []
        self._weights: list[int] = []
        self._characters = 0
        self._waiting: dict[Waiter, None] = {}
        """In the order in which they are woken, that of their waits: a random one would cost more."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def recent(self, after: Sequence, log_id: str) -> list[Event] | None:
        """The events after a position in the log with this identity if all are cached; empty at the head; None if the
        log must be read."""
        if not self._ring or self.head > self._ring[-1].sequence or after + 1 < self._ring[0].sequence:
            return None
        if log_id != self._log_id or after > self._ring[-1].sequence:
            return None
        if after + 1 == self._ring[-1].sequence:  # what most woken watchers need
            return [self._ring[-1]]
        skipped = after + 1 - self._ring[0].sequence
        return self._ring[skipped:]

    def changed(self, since: int, timeout_seconds: float) -> asyncio.Future[None]:
        """Done when the version differs from `since`, or after the timeout; may also be done earlier. If others may end
        the wait, its watcher calls `leave` after it."""
        # Not a coroutine, which would cost every watcher at every event. A future whose watcher has left is dropped at
        # the next wake-up, which is at most a timeout away.
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        if self.version != since or timeout_seconds <= 0:
            woken.set_result(None)
            return woken
        self._look_up_at(loop, loop.time() + timeout_seconds)
        self._waiting[woken] = None
        return woken

    def leave(self, woken: Waiter) -> None:
        """Forgets a wait that others may have ended. A callback of the future would take another turn of the loop for
        every watcher."""
        self._waiting.pop(woken, None)

    def publish(self, published: Published) -> None:
        """Adds events that this process has made durable; has none if there were too many to keep."""
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
            self._forget_ring()  # events of another replica or of an import are missing in between
        for event in events:
            self._ring.append(event)
            self._weights.append(_characters(event))
            self._characters += self._weights[-1]
        self._forget_before(Sequence(published.erased_through + 1))
        while len(self._ring) > RING_EVENTS or self._characters > RING_CHARACTERS:
            self._forget_oldest()
        self.wake()

    def hint(self, head: Sequence) -> None:
        """Another replica reports that the log has reached a position."""
        if head > self.head and not (self._ring and self._ring[-1].sequence >= head):
            self.head = head
            self.foreign += 1
            self.wake()

    def compare(self, head: Sequence, seen: int) -> None:
        """A read of the log that was started at version `seen` found its head here. If a later head was known before,
        the log was rolled back."""
        if head < self.head and seen == self.version:
            self.distrust()

    def forget(self) -> None:
        """Empties the cache, which may be out of date, so that everyone reads the log."""
        self._forget_ring()
        self.foreign += 1
        self.wake()

    def distrust(self) -> None:
        """Empties the cache after a possible rollback of the log."""
        self.head = Sequence(0)
        self.forget()

    def close(self) -> None:
        """Called when nobody watches any more."""
        self._cancel_timer()

    def wake(self) -> None:
        self.version += 1
        self._wake_waiting()

    def _look_up_at(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        """Schedules one timer for all waiters: with one for each, every event would cost every watcher a new timer."""
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
        waiting, self._waiting = self._waiting, {}
        for woken in waiting:
            if not woken.done():
                woken.set_result(None)

    def _forget_ring(self) -> None:
        self._ring.clear()
        self._weights.clear()
        self._characters = 0

    def _forget_before(self, sequence: Sequence) -> None:
        while self._ring and self._ring[0].sequence < sequence:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        del self._ring[0]
        self._characters -= self._weights.pop(0)


class Hub:
    def __init__(self, feeds: Callable[[], Feed] = Feed) -> None:
        self._feeds: dict[SessionKey, Feed] = {}
        self._new_feed = feeds

    def watch(self, key: SessionKey) -> AbstractContextManager[Feed]:
        """Watches a session while the context lasts."""
        return _Watch(self, key)

    def enter(self, key: SessionKey) -> Feed:
        """Adds a watcher of a session."""
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = self._new_feed()
        feed.watchers += 1
        return feed

    def leave(self, key: SessionKey) -> None:
        """Removes one that was added."""
        feed = self._feeds[key]
        feed.watchers -= 1
        if not feed.watchers:
            feed.close()
            del self._feeds[key]

    def publish(self, published: list[Published]) -> None:
        """Publishes what this process has just made durable."""
        for change in published:
            if (feed := self._feeds.get(change.key)) is not None:
                feed.publish(change)

    def watched(self) -> dict[SessionKey, int]:
        """The watched sessions, with the versions of their feeds."""
        return {key: feed.version for key, feed in self._feeds.items()}

    def hint(self, key: SessionKey, head: Sequence) -> None:
        if (feed := self._feeds.get(key)) is not None:
            feed.hint(head)

    def looked(self, heads: Mapping[SessionKey, Sequence], seen: Mapping[SessionKey, int]) -> None:
        """Reports a read of the logs' heads that was started when the feeds had these versions."""
        for key, head in heads.items():
            if (feed := self._feeds.get(key)) is not None and key in seen:
                feed.compare(head, seen[key])
                feed.hint(head)

    def forget_all(self) -> None:
        """Hints may have been lost, so everyone reads the log."""
        for feed in self._feeds.values():
            feed.forget()

    def distrust_all(self) -> None:
        """The database has failed over to a server that may lack the last shown events, so everyone reads the log."""
        for feed in self._feeds.values():
            feed.distrust()


class _Watch:
    """A watcher. A generator would take ten times the memory, for as long as a stream is open."""

    __slots__ = ("_hub", "_key")

    def __init__(self, hub: Hub, key: SessionKey) -> None:
        self._hub = hub
        self._key = key

    def __enter__(self) -> Feed:
        return self._hub.enter(self._key)

    def __exit__(self, *_: object) -> None:
        self._hub.leave(self._key)


def _characters(event: Event) -> int:
    """The approximate memory of an event: a constant, and its strings and JSON."""
    if isinstance(event.data, (ContextChange, Updated)):
        return 200 + sum(map(len, event.data.paths)) + len(encode_change(event.data) or b"")
    if not isinstance(event.data, Message):
        return 200
    body = event.data.body
    values = (value for value in (body.data, body.metadata) if value is not None)
    return 200 + len(body.content) + len(body.payload) + sum(len(dumps(value)) for value in values)
