"""Follows a session's log: first the stored events, then live ones, with no gap and no duplicate in between.

The log is the truth. The hub only says when to look, and caches the newest events so that many readers share them. A
follower has just a cursor, which it advances after its sink has taken the event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from sessions_server.domain.errors import (
    CursorAhead,
    EventsCompacted,
    LimitExceeded,
    LogReplaced,
    SessionNotFound,
)
from sessions_server.domain.lineage import differ_from
from sessions_server.domain.models import (
    Deleted,
    Event,
    EventType,
    Message,
    Micros,
    Sequence,
    SessionKey,
    Updated,
)
from sessions_server.service.turns import Turns

if TYPE_CHECKING:
    from sessions_server.domain.ports import Feed, Hub, LogPage, ReadStore, Sink
    from sessions_server.domain.replica_ports import DraftView

WatchDrafts: TypeAlias = "Callable[[], AbstractContextManager[DraftView]]"
"""Watches the drafts of the followed session while the context lasts."""

BATCH = 256
"""The maximum number of events that a follower reads from the log at once."""

NEAR = 32
"""A follower within this many events of the head counts as live, and never waits for a turn."""

CATCHING_UP = 8
"""How many other followers are served at a time, one batch each in turn, so that a thousand starting at once do not
starve live ones and single calls."""

LONGEST_TURN_SECONDS = 0.5
"""After this long, a caller that does not read its events no longer holds its turn."""

SKIPPED = 1000
"""A checkpoint is sent after this many skipped events."""

# Python 3.11 looks members of an enum up by a method.
_DELETED: Final = EventType.DELETED
_UPDATED: Final = EventType.UPDATED


class Subscriptions:
    def __init__(self, *, store: ReadStore, hub: Hub, checkpoint_seconds: float) -> None:
        self._store = store
        self._hub = hub
        self._checkpoint_seconds = checkpoint_seconds
        self._turns = Turns(CATCHING_UP, longest_seconds=LONGEST_TURN_SECONDS)

    async def follow(
        self,
        key: SessionKey,
        sink: Sink,
        *,
        kinds: AbstractSet[EventType],
        after: Sequence | None,
        log_id: str = "",
        changes: bool = False,
        drafts: WatchDrafts | None = None,
    ) -> None:
        """Passes every event of `kinds` (empty for all) after a position (None for now) to the sink, in order; with
        `changes`, including what it changed. The position is in the log with this identity, if given. With `drafts`,
        their news is shown while there are no events.

        Starts with a checkpoint, and sends another when the log's identity changes. Returns after the session's
        `deleted` event. Raises SessionNotFound, CursorAhead, EventsCompacted, LogReplaced, KeyNotAvailable,
        DataCorrupted, and the sink's errors.
        """
        with self._hub.watch(key) as feed:  # before the first read, so that no wake-up is lost
            cursor = _Cursor(key, feed, sink, kinds, self._store if changes else None)
            cursor.log_id = log_id
            cursor.first = await self._begin(cursor, after)
            await cursor.checkpoint()
            with nullcontext() if drafts is None else drafts() as cursor.drafts:
                # In a task of its own, since each wake-up resumes a task through every call that it awaits: three from
                # here on, and ten more in the task that serves the request.
                await asyncio.create_task(self._run(cursor))

    async def _begin(self, cursor: _Cursor, after: Sequence | None) -> _Batch | None:
        """Positions the cursor, and raises errors of the position before the caller sees a response. Reads at most one
        event, so that a thousand callers starting at once soon get their first checkpoint.

        The log of an erased session is read too, for callers that resume from before its end and missed it. Returns
        what was read, unless nothing was, there is more, or it may be out of date already.
        """
        feed = cursor.feed
        if not after:
            seen = feed.version
            session = await self._store.session(cursor.key)
            head = session.last_sequence
            cursor.check_log(session.log_id)
            feed.compare(head, seen)
            feed.hint(head)
            if after is None:
                cursor.position = head
                return None
        cursor.position = after
        seen = feed.version
        page = await self._page(cursor, 1)
        cursor.check_log(page.log_id)
        if page.delete_time is not None and after >= page.head:
            raise SessionNotFound
        is_current = feed.version == seen
        feed.hint(page.head)  # the page includes it, so it must not wake this follower
        batch = _Batch(cursor.read(page), feed.version, feed.foreign, feed.erasures)
        cursor.batch = BATCH
        is_all = not page.events or page.events[-1].sequence == page.head
        return batch if is_current and is_all else None

    async def _next(self, cursor: _Cursor) -> _Batch:
        feed = cursor.feed
        seen, foreign, erasures = feed.version, feed.foreign, feed.erasures
        page = await self._page(cursor, cursor.batch)
        return _Batch(cursor.read(page), seen, foreign, erasures)

    async def _page(self, cursor: _Cursor, limit: int) -> LogPage:
        seen = cursor.feed.version
        page = await self._store.log(cursor.key, cursor.position, limit, changes=cursor.changes)
        # The page of a session that will be erased may lack the head; but then the cache is not used.
        if not page.fleeting:
            cursor.feed.compare(page.head, seen)
        return page

    async def _run(self, cursor: _Cursor) -> None:
        # One event may wake a thousand followers, so this loop awaits as few calls as possible.
        loop, feed = asyncio.get_running_loop(), cursor.feed
        quiet_since = loop.time()
        while not cursor.ended:
            if feed.head - cursor.position <= NEAR:
                found, shown = await self._step(cursor)
            else:
                async with self._turns.one(cursor.checkpoint, every_seconds=self._checkpoint_seconds):
                    found, shown = await self._step(cursor)
            now = loop.time()
            if shown:
                quiet_since = now
            quiet = now - quiet_since
            if quiet >= self._checkpoint_seconds and not cursor.ended:
                await cursor.checkpoint()
                quiet_since, quiet = loop.time(), 0.0
            if not cursor.is_at_head(found):
                continue
            if cursor.catching_up:
                cursor.catching_up = False
                if cursor.skipped:
                    await cursor.checkpoint()
                    quiet_since, quiet = loop.time(), 0.0
            await cursor.rest(found.seen, self._checkpoint_seconds - quiet)

    async def _step(self, cursor: _Cursor) -> tuple[_Batch, bool]:
        """Shows the next events one by one, until the next may have been erased since it was read: a stream may be
        blocked for a long time between two events. The rest is then read again. Returns the events, and whether any was
        shown."""
        batch = cursor.cached() or await self._next(cursor)
        if cursor.sent_log_id != cursor.log_id:
            await cursor.checkpoint()
        feed, shown = cursor.feed, False
        for event in batch.events:
            if feed.erasures != batch.erasures and event.sequence <= feed.erased_through:
                break
            if cursor.drafts is not None and isinstance(event.data, Message):
                cursor.drafts.pass_message(event.data.id)
            if is_wanted := cursor.wants(event):
                await cursor.sink.event(event if cursor.past is None else await cursor.with_session(event))
                shown = True
            cursor.advance(event, shown=is_wanted)
            if cursor.skipped == SKIPPED:
                await cursor.checkpoint()
            if feed.foreign != batch.foreign or event.type is _UPDATED:
                break
        return batch, shown


class _Batch(NamedTuple):
    events: list[Event]
    """In order and complete; empty at the head."""
    seen: int
    """The feed's version at or before the read, so that later changes are not missed."""
    foreign: int
    """The feed's count of foreign writes at that version."""
    erasures: int
    """The feed's count of erasures at that version."""
    is_last: bool = False
    """Whether the log had no more at that version."""


class _Cursor:
    """One follower's position in a log."""

    def __init__(
        self,
        key: SessionKey,
        feed: Feed,
        sink: Sink,
        kinds: AbstractSet[EventType],
        past: ReadStore | None,
    ) -> None:
        self.key = key
        self.feed = feed
        self.sink = sink
        self.kinds = kinds
        self.past = past
        """Reads the session as of a change; None if changes were not requested."""
        self.log_id = ""
        """The log that the position belongs to; empty if not known yet."""
        self.sent_log_id = ""
        """The identity that was last reported to the caller."""
        self.position = Sequence(0)
        self.batch = BATCH
        self.fleeting = True
        """Whether a timer may erase the session, so that cached events are not enough and the log must be read. Unknown
        at first."""
        self.ended = False
        self.catching_up = True
        """Whether the head has not been reached yet."""
        self.skipped = 0
        """How many events were skipped since the caller last received a position."""
        self.drafts: DraftView | None = None
        self.first: _Batch | None = None
        """Events that were read before the first checkpoint."""

    async def checkpoint(self) -> None:
        self.skipped, self.sent_log_id = 0, self.log_id
        await self.sink.checkpoint(self.position, self.log_id)

    @property
    def changes(self) -> bool:
        return self.past is not None

    def check_log(self, log_id: str) -> None:
        """Continues in the log with this identity. Raises LogReplaced if the event at the position may differ there."""
        differs = differ_from(self.log_id, log_id) if self.log_id and log_id else None
        if differs is not None and self.position >= differs:
            raise LogReplaced(log_id)
        self.log_id = log_id or self.log_id

    def cached(self) -> _Batch | None:
        """The next events, if the first read is still current or the feed has cached them; None to read the log."""
        first, self.first = self.first, None
        feed = self.feed
        # Events since then, for example during the first checkpoint, may have erased what was read.
        if first is not None and first.seen == feed.version:
            return first
        events = feed.recent(self.position, self.log_id)
        if events is None or (self.fleeting and not _has_end(events)):
            return None
        return _Batch(events, feed.version, feed.foreign, feed.erasures, is_last=True)

    def is_at_head(self, shown: _Batch) -> bool:
        """Whether the batch ended at the head and was shown in full, so that there is nothing to read yet."""
        if not shown.events:
            return True
        is_all = shown.is_last and self.position == shown.events[-1].sequence
        return is_all and not (self.fleeting or self.ended) and self.feed.version == shown.seen

    def check_head(self, page: LogPage) -> None:
        """Raises CursorAhead."""
        if self.position > page.head:
            raise CursorAhead(
                "after_sequence is after the session's last event; subscribe without it, or from last_sequence.",
                last_sequence=str(page.head),
            )

    def read(self, page: LogPage) -> list[Event]:
        """The events of a page of the log; also sets the size of the next one. Raises CursorAhead, LogReplaced,
        EventsCompacted."""
        self.check_head(page)
        if self._has_missed_end(page):
            last, time = Sequence(page.log_start - 1), page.create_time or Micros(0)
            return [Event(self.key, last, EventType.DELETED, time, "", Deleted())]
        self.check_log(page.log_id)
        self.batch, self.fleeting = _next_batch(page), page.fleeting
        return _checked(self.key, page, self.position)

    def _has_missed_end(self, page: LogPage) -> bool:
        """Whether the session was deleted and another one created with its id."""
        is_another = bool(self.log_id and page.log_id) and differ_from(self.log_id, page.log_id) == 0
        return is_another and page.log_start > self.position + 1

    def rest(self, seen: int, seconds: float) -> Awaitable[None]:
        """Returns when the log may have grown since this version, or after this many seconds. Shows drafts
        meanwhile."""
        return (
            self.feed.changed(seen, seconds)
            if self.drafts is None
            else self._watch(self.drafts, seen, seconds)
        )

    async def _watch(self, drafts: DraftView, seen: int, seconds: float) -> None:
        feed, loop = self.feed, asyncio.get_running_loop()
        end = loop.time() + seconds
        while feed.version == seen and (left := end - loop.time()) > 0:
            if drafts.is_due:
                await drafts.show(self.position)
            else:
                woken = feed.changed(seen, left)
                drafts.waiting.add(woken)
                try:
                    await woken
                finally:
                    drafts.waiting.discard(woken)
                    feed.leave(woken)

    def wants(self, event: Event) -> bool:
        """Whether its type was requested."""
        return not self.kinds or event.type in self.kinds or event.type is _DELETED

    def advance(self, event: Event, *, shown: bool) -> None:
        self.position = event.sequence
        self.skipped = 0 if shown else self.skipped + 1
        self.fleeting |= event.type is _UPDATED  # its ttl may have changed
        self.ended = event.type is _DELETED

    async def with_session(self, event: Event) -> Event:
        """Adds the session to an update, if changes were requested and that state can be read in time."""
        past = self.past
        if past is None or not isinstance(event.data, Updated):
            return event
        try:
            session = await past.session(self.key, event.sequence)
        except (SessionNotFound, CursorAhead, EventsCompacted, LimitExceeded):
            return event
        return replace(event, data=replace(event.data, session=session))


def _has_end(events: list[Event]) -> bool:
    """Whether the session has been erased; then the cache has only what may still be shown."""
    return bool(events) and events[-1].type is EventType.DELETED


def _next_batch(page: LogPage) -> int:
    """If the store shortened a page because its events are large, the next request is not much larger."""
    is_last = not page.events or page.events[-1].sequence >= page.head
    return BATCH if is_last else min(BATCH, 2 * len(page.events))


def _checked(key: SessionKey, page: LogPage, after: Sequence) -> list[Event]:
    """The page's events if none is missing after the position; the end if the session was erased."""
    if page.delete_time is not None:
        return [Event(key, page.head, EventType.DELETED, page.delete_time, "", Deleted())]
    if page.log_start > after + 1:
        raise EventsCompacted(
            "Events after this position are no longer kept; read the session, then subscribe from its last_sequence.",
            oldest_sequence=str(page.log_start),
        )
    return list(page.events)
