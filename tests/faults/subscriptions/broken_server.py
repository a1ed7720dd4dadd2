"""The server's program with a fault built into its subscriptions, to show that the harness detects it.

Its argument names the fault. Everything else is unchanged.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Set as AbstractSet
from typing import Final

from sessions_server import app
from sessions_server.domain.models import Event, EventType, Sequence, SessionKey
from sessions_server.domain.ports import Feed, ReadStore, Sink
from sessions_server.service import subscriptions
from sessions_server.service.subscriptions import BATCH, Subscriptions, WatchDrafts
from sessions_server.settings import read_settings
from tests.support.clocked_server import announce

LIES_EVERY: Final = 5
REGISTERS_AFTER_READING: Final = "registers after reading"
MOVES_BEFORE_WRITING: Final = "moves before writing"


class RegistersAfterReading(Subscriptions):
    """Reads the log to its end, registers, and continues live: nobody shows what is committed in between.

    It waits in the gap until an event falls into it.
    """

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
        begins = Sequence(after or 0)
        stored = list((await self._store.log(key, begins, BATCH)).events)
        head = stored[-1].sequence if stored else begins
        while (await self._store.session(key)).last_sequence == head:  # noqa: ASYNC110  # there is no signal to wait for
            await asyncio.sleep(0.001)
        await super().follow(key, _FromTheLogFirst(sink, begins, stored), kinds=kinds, after=None)


class _FromTheLogFirst:
    """Inserts the events read from the log before the first live one."""

    def __init__(self, sink: Sink, begins: Sequence, stored: list[Event]) -> None:
        self._sink = sink
        self._begins = begins
        self._stored = stored

    async def event(self, event: Event) -> None:
        await self._sink.event(event)

    async def checkpoint(self, position: Sequence, log_id: str) -> None:
        """The first one is that of the live part; report where the stream began instead."""
        stored, self._stored = self._stored, []
        await self._sink.checkpoint(self._begins if stored else position, log_id)
        for event in stored:
            await self._sink.event(event)


class MovesBeforeWriting(subscriptions._Cursor):
    """Advances its position before the event is written; a checkpoint falls due in between for every fifth message."""

    def __init__(
        self, key: SessionKey, feed: Feed, sink: Sink, kinds: AbstractSet[EventType], past: ReadStore | None
    ) -> None:
        super().__init__(key, feed, _AfterMoving(self, sink), kinds, past)


class _AfterMoving:
    """Writes an event after its cursor has advanced."""

    def __init__(self, cursor: subscriptions._Cursor, sink: Sink) -> None:
        self._cursor = cursor
        self._sink = sink

    async def event(self, event: Event) -> None:
        self._cursor.position = event.sequence
        if event.type is EventType.MESSAGE and event.sequence % LIES_EVERY == 0:
            await self._cursor.checkpoint()
        await self._sink.event(event)

    async def checkpoint(self, position: Sequence, log_id: str) -> None:
        await self._sink.checkpoint(position, log_id)


def main() -> None:
    if sys.argv[1] == REGISTERS_AFTER_READING:
        vars(app)["Subscriptions"] = RegistersAfterReading
    else:
        vars(subscriptions)["_Cursor"] = MovesBeforeWriting
    asyncio.run(app.serve(read_settings(), ready=announce))


if __name__ == "__main__":
    main()
