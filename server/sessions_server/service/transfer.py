"""Moves whole sessions: out as a stream of records, in as one step that happens entirely or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from sessions_server.domain import commands as c
from sessions_server.domain.errors import (
    InvalidRequest,
    MessageExists,
    Unavailable,
    Violation,
)
from sessions_server.domain.models import Sequence
from sessions_server.domain.ports import HistoryQuery
from sessions_server.domain.transfer import (
    MESSAGES_PER_RECORD,
    VERSION,
    Checker,
    ContextRecord,
    Header,
    MessagesRecord,
    Record,
)
from sessions_server.service.sealing import new_data_key, sealed_if_possible
from sessions_server.service.spool import Spool

if TYPE_CHECKING:
    from sessions_server.domain.models import Answer, Context, Session, SessionKey
    from sessions_server.domain.ports import Cells, Clock, Commands, ReadStore
    from sessions_server.domain.transfer import Footer

SPOOL_COLUMN = "spool"


class HistoryChanged(Unavailable):
    """Messages were cleared or truncated before the export had come to them."""

    def __init__(self) -> None:
        super().__init__("The history was cleared or truncated during the export; start the export again.")


class Transfers:
    def __init__(self, *, commands: Commands, store: ReadStore, cells: Cells, clock: Clock) -> None:
        self._commands = commands
        self._store = store
        self._cells = cells
        self._clock = clock

    async def export(self, key: SessionKey) -> AsyncIterator[Record]:
        """The session's records as they stood at the start, whatever is added meanwhile. Raises SessionNotFound,
        HistoryChanged."""
        checker = Checker()
        session, context = await self._start(key)
        async for record in self._records(session, context):
            checker.take(record)
            yield record
        footer = checker.footer()
        if footer.message_count != session.message_count:
            raise HistoryChanged
        yield footer

    async def _start(self, key: SessionKey) -> tuple[Session, Context]:
        """A session, and its context as of the session's last event."""
        while True:
            session, context = await self._store.session(key), await self._store.context(key)
            if context.revision <= session.last_sequence:
                return session, context

    async def _records(
        self, session: Session, context: Context
    ) -> AsyncIterator[Header | ContextRecord | MessagesRecord]:
        yield Header(VERSION, session, self._clock.now())
        yield ContextRecord(context.data)
        end = Sequence(session.last_sequence + 1)
        after, more = Sequence(0), session.message_count > 0
        while more:
            query = HistoryQuery(MESSAGES_PER_RECORD, before=end, after=after)
            page = await self._store.history(session.key, query)
            if page.messages:
                yield MessagesRecord(page.messages)
                after = page.messages[-1].sequence
            more = page.has_more

    async def import_(
        self, key: SessionKey, *, records: AsyncIterator[Record], fail_if_exists: bool, request_id: str
    ) -> Session:
        """Recreates, or replaces, a session from a whole stream of records. Raises InvalidRequest when the stream is
        not whole or was altered, SessionExists, InvalidState, EncryptionNotConfigured; nothing is changed then."""

        def opening(exported: Session, footer: Footer) -> c.Import:
            return c.Import(
                key=key,
                request=_stamp(request_id, footer, fail_if_exists=fail_if_exists),
                exported=exported,
                context={},
                message_count=footer.message_count,
                fail_if_exists=fail_if_exists,
            )

        return await self._import(key, records, opening)

    async def move_in(self, key: SessionKey, records: AsyncIterator[Record]) -> Session:
        """Recreates a session of another database, whose log goes on behind the position that it had there. Raises as
        `import_` does."""

        def opening(exported: Session, footer: Footer) -> c.Import:
            count = footer.message_count
            return c.Import(
                key=key, exported=exported, context={}, message_count=count, fail_if_exists=True, moved=True
            )

        return await self._import(key, records, opening)

    async def _import(
        self,
        key: SessionKey,
        records: AsyncIterator[Record],
        opening: Callable[[Session, Footer], c.Import],
    ) -> Session:
        first = await anext(records, None)
        if not isinstance(first, Header):
            raise _refused(
                "The stream does not start with its header; send every record of the export, in order."
            )
        with closing(Spool(sealed_if_possible(self._cells, key, SPOOL_COLUMN))) as spool:
            footer = await _receive(first, records, spool)
            command = opening(first.session, footer)
            if first.session.storage.encryption:  # not earlier, so that the key is the keyring's current one
                command = replace(command, data_key=new_data_key(self._cells, key))
            answer = await self._submit(command, spool)
        return cast("Session", answer)

    async def _submit(self, opening: c.Import, spool: Spool) -> Answer:
        try:
            return await self._commands.submit_series(lambda: _import_commands(opening, spool))
        except MessageExists:
            raise _refused("Two messages bear the same id; send the messages as exported.") from None


async def _receive(first: Header, records: AsyncIterator[Record], spool: Spool) -> Footer:
    """Keeps the whole stream. Raises InvalidRequest unless it is whole and unchanged."""
    checker = Checker()
    checker.take(first)
    async for record in records:
        checker.take(record)
        await spool.append(record)
    if not checker.finished:
        raise _refused("The stream ends before its footer; send every record of the export.")
    return checker.footer()


def _stamp(request_id: str, footer: Footer, *, fail_if_exists: bool) -> c.RequestStamp | None:
    """The same stream means the same payload, if it is to be treated alike."""
    payload = footer.sha256 + bytes([fail_if_exists])
    return c.RequestStamp(request_id, "ImportSession", payload) if request_id else None


def _import_commands(opening: c.Import, spool: Spool) -> Iterator[c.Command]:
    """Read by the writer, a record at a time, so that a history of any length fits into memory."""
    for record in spool.records():
        if isinstance(record, ContextRecord):
            yield replace(opening, context=record.data)
        elif isinstance(record, MessagesRecord):
            request_id = opening.request.id if opening.request else ""
            yield c.ImportMessages(key=opening.key, messages=record.messages, request_id=request_id)


def _refused(sentence: str) -> InvalidRequest:
    return InvalidRequest([Violation("record", sentence)])
