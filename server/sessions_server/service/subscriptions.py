"""Follows a session's log: first what is stored, then what comes, with no gap and no duplicate in between.

The log is the truth. The hub only says when to look, and keeps the newest events so that many readers share one object.
A follower owns nothing but a cursor, and moves it after its sink has taken the event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Set as AbstractSet
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
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
"""Watches the drafts of the followed session, for as long as the context lasts."""

BATCH = 256
"""How many events a follower reads from the log at a time, at most."""

NEAR = 32
"""A follower at most this many events from the head counts as live, and never waits for a turn."""

CATCHING_UP = 8
"""How many of the others are served at a time, a batch each in turn: a thousand that begin at once must not keep live
ones and single calls from the event loop."""

LONGEST_TURN_SECONDS = 0.5
"""After how long a caller that does not read its events no longer counts as served."""

SKIPPED = 1000
"""After how many events that were not asked for a checkpoint tells how far the follower is."""


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
        """Hands every event of `kinds` (empty: all) after a position (None: from now) to the sink, in order; with
        `changes`, also what it changed. The position is one of the log with this identity, if one is given. With
        `drafts`, whatever is new in these is shown while no event is at hand.

        Starts with a checkpoint, and sends another when the log's identity has changed. Returns after the session's
        `deleted` event. Raises SessionNotFound, CursorAhead, EventsCompacted, LogReplaced, KeyNotAvailable,
        DataCorrupted, and whatever the sink raises.
        """
        with self._hub.watch(key) as feed:  # before the first read, so that no wake-up is lost
            cursor = _Cursor(key, feed, sink, kinds, self._store if changes else None)
            cursor.log_id = log_id
            cursor.first = await self._begin(cursor, after)
            await cursor.checkpoint()
            with nullcontext() if drafts is None else drafts() as cursor.drafts:
                await self._run(cursor)

    async def _begin(self, cursor: _Cursor, after: Sequence | None) -> _Batch | None:
        """Puts the cursor at its place, and finds what a position is refused for before the caller hears of success.
        Reads one event at most, so that even a thousand that begin at once soon get their first checkpoint.

        The log of an erased session is read too, for callers that resume from before its end: they missed it. Returns
        what was read, unless there was nothing to read, there is more, or it may be out of date already.
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
        feed.hint(page.head)  # which the page goes up to, so that it is no news to this follower
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
        # Of a fleeting session the page may not tell the head; but then nothing is taken from what is at hand.
        if not page.fleeting:
            cursor.feed.compare(page.head, seen)
        return page

    async def _run(self, cursor: _Cursor) -> None:
        # A thousand followers may be woken by one event, so nothing here waits through more calls than it must.
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        while not cursor.ended:
            async with self._turn(cursor):
                found = cursor.at_hand() or await self._next(cursor)
                if cursor.told != cursor.log_id:
                    await cursor.checkpoint()
                shown = await cursor.show(found)
            if shown:
                quiet_since = loop.time()
            quiet = loop.time() - quiet_since
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

    def _turn(self, cursor: _Cursor) -> AbstractAsyncContextManager[None]:
        if cursor.feed.head - cursor.position <= NEAR:
            return _AT_ONCE
        return self._turns.one(cursor.checkpoint, every_seconds=self._checkpoint_seconds)


_AT_ONCE: Final = nullcontext()


class _Batch(NamedTuple):
    events: list[Event]
    """In their order, none left out; empty at the head."""
    seen: int
    """The feed's version that this was read at, or before: what comes after is not slept through."""
    foreign: int
    """The feed's count of foreign writes at that version."""
    erasures: int
    """The feed's count of erasures at that version."""
    is_last: bool = False
    """Whether the log had no more at that version."""


class _Cursor:
    """One follower's place in a log."""

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
        """Where sessions are read as of a change; None: changes are not asked for."""
        self.log_id = ""
        """Of the log that the position belongs to; empty: not known yet."""
        self.told = ""
        """The identity that the caller heard of last."""
        self.position = Sequence(0)
        self.batch = BATCH
        self.fleeting = True
        """What is at hand may be of a session that the clock has erased; the log knows. At first nobody else does."""
        self.ended = False
        self.catching_up = True
        """Whether the head was not reached yet."""
        self.skipped = 0
        """How many events were left out since the caller last heard of a position."""
        self.drafts: DraftView | None = None
        self.first: _Batch | None = None
        """What was read before the first checkpoint."""

    async def checkpoint(self) -> None:
        self.skipped, self.told = 0, self.log_id
        await self.sink.checkpoint(self.position, self.log_id)

    @property
    def changes(self) -> bool:
        return self.past is not None

    def check_log(self, log_id: str) -> None:
        """Follows the log under this identity. Raises LogReplaced when the event at the position may be another one
        there."""
        differs = differ_from(self.log_id, log_id) if self.log_id and log_id else None
        if differs is not None and self.position >= differs:
            raise LogReplaced(log_id)
        self.log_id = log_id or self.log_id

    def at_hand(self) -> _Batch | None:
        """What comes next, if it was read first and nothing came in since, or the feed has it; None: ask the log."""
        first, self.first = self.first, None
        feed = self.feed
        # What came in since, as while the first checkpoint was sent, may have erased what was read before it.
        if first is not None and first.seen == feed.version:
            return first
        events = feed.recent(self.position, self.log_id)
        if events is None or (self.fleeting and not _has_end(events)):
            return None
        return _Batch(events, feed.version, feed.foreign, feed.erasures, is_last=True)

    def is_at_head(self, shown: _Batch) -> bool:
        """Whether nothing comes after what was shown, or was to be: then there is no need to look again."""
        if not shown.events:
            return True
        is_all = shown.is_last and self.position == shown.events[-1].sequence
        return is_all and not (self.fleeting or self.ended) and self.feed.version == shown.seen

    def check_head(self, page: LogPage) -> None:
        """Raises CursorAhead."""
        if self.position > page.head:
            raise CursorAhead(
                "after_sequence lies beyond the session's last event; subscribe without it, or from last_sequence.",
                last_sequence=str(page.head),
            )

    def read(self, page: LogPage) -> list[Event]:
        """What a page of the log brings; knows then how to ask for the next one. Raises CursorAhead, LogReplaced,
        EventsCompacted."""
        self.check_head(page)
        if self._has_missed_end(page):
            last, time = Sequence(page.log_start - 1), page.create_time or Micros(0)
            return [Event(self.key, last, EventType.DELETED, time, "", Deleted())]
        self.check_log(page.log_id)
        self.batch, self.fleeting = _next_batch(page), page.fleeting
        return _checked(self.key, page, self.position)

    def _has_missed_end(self, page: LogPage) -> bool:
        """Whether the session was deleted, and another one created under its id."""
        is_another = bool(self.log_id and page.log_id) and differ_from(self.log_id, page.log_id) == 0
        return is_another and page.log_start > self.position + 1

    def rest(self, seen: int, seconds: float) -> Awaitable[None]:
        """Returns when there may be more in the log than there was at this version, or after so long. Shows drafts
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
                await feed.changed(seen, left, beside=drafts.waiting)

    async def show(self, batch: _Batch) -> bool:
        """Shows events one by one, until the next may have been erased since they were read: a stream may be blocked
        for long between two events. The rest is then read again. Returns whether any was shown."""
        shown = False
        for event in batch.events:
            if self.feed.erasures != batch.erasures and event.sequence <= self.feed.erased_through:
                break
            shown |= await self.take(event)
            if self.feed.foreign != batch.foreign or event.type is EventType.UPDATED:
                break
        return shown

    async def take(self, event: Event) -> bool:
        """Shows an event if it is of a kind that was asked for, and only then moves on. Whether it was shown."""
        wanted = not self.kinds or event.type in self.kinds or event.type is EventType.DELETED
        if self.drafts is not None and isinstance(event.data, Message):
            self.drafts.pass_message(event.data.id)
        if wanted:
            await self.sink.event(event if self.past is None else await self._with_session(event))
        self.position = event.sequence
        self.skipped = 0 if wanted else self.skipped + 1
        if self.skipped == SKIPPED:
            await self.checkpoint()
        self.fleeting |= event.type is EventType.UPDATED  # of its ttl, perhaps
        self.ended = event.type is EventType.DELETED
        return wanted

    async def _with_session(self, event: Event) -> Event:
        """An update with the session after it, where changes are asked for and it is still known, or found in time."""
        past = self.past
        if past is None or not isinstance(event.data, Updated):
            return event
        try:
            session = await past.session(self.key, event.sequence)
        except (SessionNotFound, CursorAhead, EventsCompacted, LimitExceeded):
            return event
        return replace(event, data=replace(event.data, session=session))


def _has_end(events: list[Event]) -> bool:
    """Whether the session has been erased, after which only what may still be seen is at hand."""
    return bool(events) and events[-1].type is EventType.DELETED


def _next_batch(page: LogPage) -> int:
    """Where the store cut a page short because its events are large, not many more are asked for the next time."""
    is_last = not page.events or page.events[-1].sequence >= page.head
    return BATCH if is_last else min(BATCH, 2 * len(page.events))


def _checked(key: SessionKey, page: LogPage, after: Sequence) -> list[Event]:
    """The page's events, if nothing is missing between them and the position; the end, if the session was erased."""
    if page.delete_time is not None:
        return [Event(key, page.head, EventType.DELETED, page.delete_time, "", Deleted())]
    if page.log_start > after + 1:
        raise EventsCompacted(
            "Events after this position are no longer kept; read the session, then subscribe from its last_sequence.",
            oldest_sequence=str(page.log_start),
        )
    return list(page.events)
