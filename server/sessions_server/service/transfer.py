"""Moves whole sessions: out as a stream of records, in as one step that happens entirely or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Protocol, cast

from sessions_server.domain import commands as c
from sessions_server.domain.errors import InvalidRequest, Unavailable, Violation
from sessions_server.domain.models import Answer, Sequence, Session, SessionKey
from sessions_server.domain.ports import Cell, Cells, Clock, HistoryQuery, ReadStore
from sessions_server.domain.transfer import (
    MESSAGES_PER_RECORD,
    VERSION,
    Checker,
    ContextRecord,
    Header,
    MessagesRecord,
    Record,
)
from sessions_server.service.spool import Spool


class Series(Protocol):
    """Where commands that belong together are made durable as one."""

    async def submit_series(self, commands: Callable[[], Iterator[c.Command]]) -> Answer:
        """Decides the commands one after another in one transaction, and answers what the first of them answered.

        Stops after the first when it has no effect, as a repeated request has none. Any refusal undoes all of them.
        """


class Transfers:
    def __init__(self, *, commands: Series, store: ReadStore, cells: Cells, clock: Clock) -> None:
        self._commands = commands
        self._store = store
        self._cells = cells
        self._clock = clock

    async def export(self, key: SessionKey) -> AsyncIterator[Record]:
        """The session's records as they stood at the start. Raises SessionNotFound; Unavailable when the history is
        cleared or truncated meanwhile."""
        checker = Checker()
        session = await self._store.session(key)
        async for record in self._records(session):
            checker.take(record)
            yield record
        if (await self._store.session(key)).history_start != session.history_start:
            raise Unavailable(
                "The history was cleared or truncated during the export; start the export again."
            )
        yield checker.footer()

    async def _records(self, session: Session) -> AsyncIterator[Header | ContextRecord | MessagesRecord]:
        key, head = session.key, session.last_sequence
        yield Header(VERSION, session, self._clock.now())
        yield ContextRecord((await self._store.context(key)).data)
        after, more = Sequence(0), session.message_count > 0
        while more:
            query = HistoryQuery(MESSAGES_PER_RECORD, before=Sequence(head + 1), after=after)
            page = await self._store.history(key, query)
            if page.messages:
                yield MessagesRecord(page.messages)
                after = page.messages[-1].sequence
            more = page.has_more

    async def import_(
        self, key: SessionKey, *, records: AsyncIterator[Record], fail_if_exists: bool, request_id: str
    ) -> Session:
        """Recreates, or replaces, a session from a whole stream of records. Raises InvalidRequest when the stream is
        not whole or was altered, SessionExists, InvalidState, EncryptionNotConfigured; nothing is changed then."""
        checker = Checker()
        first = await anext(records, None)
        if not isinstance(first, Header):
            raise _refused(
                "The stream does not start with its header; send every record of the export, in order."
            )
        data_key = self._cells.new_key(*key) if first.session.storage.encryption else None
        with closing(self._spool(key, data_key)) as spool:
            await _receive(first, records, checker, spool)
            footer = checker.footer()
            stamp = c.RequestStamp(request_id, "ImportSession", footer.sha256) if request_id else None
            opening = c.Import(
                key=key,
                request=stamp,
                exported=first.session,
                context={},
                message_count=footer.message_count,
                data_key=data_key,
                fail_if_exists=fail_if_exists,
            )
            return cast(
                "Session", await self._commands.submit_series(lambda: _import_commands(opening, spool))
            )

    def _spool(self, key: SessionKey, data_key: bytes | None) -> Spool:
        if data_key is None:
            return Spool()

        def seal(place: int, data: bytes) -> bytes:
            return self._cells.seal(data_key, Cell(*key, "spool", str(place)), data)

        def unseal(place: int, data: bytes) -> bytes:
            return self._cells.open(data_key, Cell(*key, "spool", str(place)), data)

        return Spool(seal, unseal)


async def _receive(first: Header, records: AsyncIterator[Record], checker: Checker, spool: Spool) -> None:
    """Keeps the whole stream. Raises InvalidRequest unless it is whole and unchanged."""
    checker.take(first)
    async for record in records:
        checker.take(record)
        await spool.append(record)
    if not checker.finished:
        raise _refused("The stream ends before its footer; send every record of the export.")


def _import_commands(opening: c.Import, spool: Spool) -> Iterator[c.Command]:
    """Read by the writer, a record at a time, so that a history of any length fits into memory."""
    for record in spool.records():
        if isinstance(record, ContextRecord):
            yield replace(opening, context=record.data)
        elif isinstance(record, MessagesRecord):
            yield c.ImportMessages(key=opening.key, messages=record.messages)


def _refused(sentence: str) -> InvalidRequest:
    return InvalidRequest([Violation("record", sentence)])
