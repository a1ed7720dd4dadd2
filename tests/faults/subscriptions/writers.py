"""Writes one session's log, event by event, and records what was acknowledged.

The last write has its own request id and a type that every reader of the session requests, so that readers know where
to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from sessions_client import AsyncClient, Event, EventType, RecordName, Scope, ops

if TYPE_CHECKING:
    import random

KINDS: Final = tuple(
    kind
    for kind in EventType
    # An erasure changes an earlier event, so that what a reader received no longer equals the log.
    if kind not in {EventType.UNKNOWN, EventType.MESSAGE_ERASED}
)
LAST_KINDS: Final = tuple(kind for kind in KINDS if kind is not EventType.CREATED)

_LAST: Final = "the-last"
_MOST_AT_ONCE: Final = 6

Write: TypeAlias = Callable[[], Awaitable[None]]


def is_last(event: Event) -> bool:
    return event.request_id == _LAST or event.type is EventType.DELETED


class SessionWriter:
    """The only writer of its session, so that it knows the sequence of each of its writes."""

    def __init__(
        self, client: AsyncClient, session_id: str, *, last_kind: EventType, events: int, rng: random.Random
    ) -> None:
        self.session_id = session_id
        self.last_kind = last_kind
        self.acknowledged: list[tuple[EventType, str | None]] = []
        """For sequence 1, 2, 3, … the type, and the content of a message."""
        self._sessions = client.sessions
        self._events = events
        self._rng = rng
        self._grown = asyncio.Condition()
        self._in_history = 0
        self._awaited_readers = 0
        self._request_id: str | None = None

    @property
    def sequence(self) -> int:
        """The last acknowledged sequence."""
        return len(self.acknowledged)

    async def reached(self, sequence: int) -> None:
        async with self._grown:
            await self._grown.wait_for(lambda: self.sequence >= sequence)

    def await_reader(self) -> Callable[[], None]:
        """Delays the last event until this reader is established; the reader calls the returned function."""
        self._awaited_readers += 1

        def established() -> None:
            self._awaited_readers -= 1

        return established

    async def write_all_but_the_last(self) -> None:
        """Writes all events except the last, and continues while a reader is awaited."""
        await self._sessions.create("writer", session_id=self.session_id)
        await self._acknowledge(EventType.CREATED)
        await self._sessions.start(self.session_id)
        await self._acknowledge(EventType.STATE_CHANGE)
        while (room := self._events - 2 - self.sequence) > 0 or self._awaited_readers:
            await self._choose(max(room, 1))()
        await self._prepare_the_last()

    async def write_the_last(self) -> None:
        self._request_id = _LAST
        write: dict[EventType, Write] = {
            EventType.MESSAGE: lambda: self._add_messages(1),
            EventType.STATE_CHANGE: self._end,
            EventType.CONTEXT_CHANGE: self._change_context,
            EventType.UPDATED: self._update,
            EventType.HISTORY_CLEARED: self._clear,
            EventType.IMPORTED: self._import,
            EventType.RECORDS_CHANGE: self._put_record,
            EventType.HISTORY_TRUNCATED: self._truncate,
            EventType.DELETED: self._delete,
        }
        await write[self.last_kind]()

    def _choose(self, room: int) -> Write:
        """A write of at most `room` events."""
        batch = self._rng.randint(1, min(room, _MOST_AT_ONCE))
        writes: list[tuple[int, Write]] = [
            (12, lambda: self._add_messages(batch)),
            (6, self._change_context),
            (4, self._update),
            (2, self._put_record),
            (2 if room >= 2 else 0, self._pause_and_resume),
            (1 if self._in_history else 0, self._clear),
            (1 if self._in_history else 0, self._truncate),
            (1 if self._in_history < min(room, _MOST_AT_ONCE) else 0, self._import),
        ]
        return self._rng.choices([write for _, write in writes], [weight for weight, _ in writes])[0]

    async def _prepare_the_last(self) -> None:
        """One event that leaves something to clear, or nothing that an import would add again."""
        if self.last_kind is EventType.IMPORTED and self._in_history:
            await self._clear()
        elif self.last_kind in {EventType.HISTORY_CLEARED, EventType.HISTORY_TRUNCATED}:
            await self._add_messages(1)
        else:
            await self._update()

    async def _add_messages(self, count: int) -> None:
        contents = [f"{self.session_id} {self._rng.getrandbits(64):x}" for _ in range(count)]
        added = await self._sessions.add_messages(
            self.session_id,
            messages=[{"role": "user", "content": content} for content in contents],
            request_id=self._request_id,
        )
        self._in_history += count
        for message in added:
            await self._acknowledge(EventType.MESSAGE, message.content, at=message.sequence)
        assert [message.content for message in added] == contents

    async def _change_context(self) -> None:
        path = f"facts.{self._rng.randrange(8)}"
        context = await self._sessions.update_context(
            self.session_id, path=path, value=self.sequence, request_id=self._request_id
        )
        await self._acknowledge(EventType.CONTEXT_CHANGE, at=int(context.etag))

    async def _update(self) -> None:
        session = await self._sessions.update(
            self.session_id, metadata={"at": self.sequence}, request_id=self._request_id
        )
        await self._acknowledge(EventType.UPDATED, at=session.last_sequence)

    async def _pause_and_resume(self) -> None:
        for verb in (self._sessions.pause, self._sessions.resume):
            await self._acknowledge(EventType.STATE_CHANGE, at=(await verb(self.session_id)).last_sequence)

    async def _end(self) -> None:
        session = await self._sessions.end(self.session_id, request_id=self._request_id)
        await self._acknowledge(EventType.STATE_CHANGE, at=session.last_sequence)

    async def _clear(self) -> None:
        cleared = await self._sessions.clear_history(self.session_id, request_id=self._request_id)
        assert cleared == self._in_history
        self._in_history = 0
        await self._acknowledge(EventType.HISTORY_CLEARED)

    async def _truncate(self) -> None:
        """Removes the newest message."""
        result = await self._sessions.commit(
            self.session_id, ops.truncate(newest=1), request_id=self._request_id
        )
        assert result.results[0].count == 1
        self._in_history -= 1
        await self._acknowledge(EventType.HISTORY_TRUNCATED)

    async def _import(self) -> None:
        """Imports the session's own export: an `imported` event, and the messages again."""
        history = await self._sessions.get_history(self.session_id, limit=1000)
        exported = await self._sessions.export(self.session_id)
        await self._sessions.import_(self.session_id, session_data=exported, request_id=self._request_id)
        await self._acknowledge(EventType.IMPORTED)
        for message in history:
            await self._acknowledge(EventType.MESSAGE, message.content)

    async def _put_record(self) -> None:
        """A record of the user, so that the session's exports do not change."""
        name = RecordName(Scope(user_id="writer"), "storm", self.session_id)
        result = await self._sessions.commit(
            self.session_id, ops.put(name, b"%d" % self.sequence), request_id=self._request_id
        )
        assert result.session is not None
        await self._acknowledge(EventType.RECORDS_CHANGE, at=result.session.last_sequence)

    async def _delete(self) -> None:
        await self._sessions.delete(self.session_id, request_id=self._request_id)
        await self._acknowledge(EventType.DELETED)

    async def _acknowledge(
        self, kind: EventType, content: str | None = None, *, at: int | None = None
    ) -> None:
        assert at in (None, self.sequence + 1), f"event {self.sequence + 1} was given sequence {at}"
        async with self._grown:
            self.acknowledged.append((kind, content))
            self._grown.notify_all()
