"""Exports whole sessions as a stream of records, and imports them in one step, wholly or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING, NamedTuple

from sessions_server.domain.commit import Commit, Committed, RequestStamp, without_session
from sessions_server.domain.errors import (
    DataCorrupted,
    InvalidRequest,
    MessageExists,
    Unavailable,
    Violation,
)
from sessions_server.domain.imports import Import, Slice
from sessions_server.domain.models import Sequence
from sessions_server.domain.operations import ImportMessages, ImportRecords, ImportSession
from sessions_server.domain.ports import HistoryQuery
from sessions_server.domain.record_reads import RecordQuery
from sessions_server.domain.records import Scope
from sessions_server.domain.transfer import (
    MESSAGES_PER_RECORD,
    VERSION,
    Checker,
    ContextRecord,
    ExportRecord,
    Footer,
    Header,
    MessagesRecord,
    RecordsPart,
    ScopeHeader,
    pieces,
    row_count,
)
from sessions_server.service.ids import new_log_id
from sessions_server.service.sealing import new_data_key, sealed_if_possible
from sessions_server.service.spool import Spool

if TYPE_CHECKING:
    from sessions_server.domain.models import Context, JsonObject, Session, SessionKey
    from sessions_server.domain.ports import Cells, Clock, Commits, SessionStore

RECORDS_AT_ONCE = 1_000
"""Fewer if they are large."""

SLICE_ROWS = 1_000
"""The approximate number of messages and records of an import per transaction."""

SLICE_BYTES = 1024 * 1024
"""A slice that reaches this size takes no more messages and records."""

SPOOL_COLUMN = "spool"


class HistoryChanged(Unavailable):
    """Messages were cleared or truncated before the export had read them."""

    def __init__(self) -> None:
        super().__init__("The history was cleared or truncated during the export; start the export again.")


class Transfers:
    def __init__(self, *, commits: Commits, store: SessionStore, cells: Cells, clock: Clock) -> None:
        self._commits = commits
        self._store = store
        self._cells = cells
        self._clock = clock

    async def export(self, key: SessionKey) -> AsyncGenerator[ExportRecord]:
        """The session as it was at the start, regardless of later additions; records as they are when read. Raises
        SessionNotFound, HistoryChanged, KeyNotAvailable, DataCorrupted."""
        checker = Checker()
        session, context = await self._start(key)
        async for record in self._records(session, context):
            checker.take(record)
            yield record
        footer = checker.footer()
        if footer.message_count != session.message_count:
            now = await self._store.session(key)
            raise _miscounted() if now.last_sequence == session.last_sequence else HistoryChanged
        yield footer

    async def _start(self, key: SessionKey) -> tuple[Session, Context]:
        """A session, and its context as of the session's last event or an earlier one."""
        session = await self._store.session(key)
        while True:
            context = await self._store.context(key)
            if context.revision <= session.last_sequence:
                return session, context
            session = await self._store.session(key)
            if context.revision > session.last_sequence:
                raise _miscounted()

    async def _records(
        self, session: Session, context: Context
    ) -> AsyncIterator[Header | ContextRecord | MessagesRecord | RecordsPart]:
        yield Header(VERSION, session, self._clock.now())
        yield ContextRecord(context.data)
        end = Sequence(session.last_sequence + 1)
        after, more = Sequence(0), True
        while more:
            query = HistoryQuery(MESSAGES_PER_RECORD, before=end, after=after)
            page = await self._store.history(session.key, query)
            if page.messages:
                yield MessagesRecord(page.messages)
                after = page.messages[-1].sequence
            more = page.has_more
        async for part in self._stored_records(Scope(*session.key)):
            yield part

    async def export_shared(self, scope: Scope) -> AsyncIterator[ExportRecord]:
        """The records of a user or a tenant, for a dump of the whole database."""
        yield ScopeHeader(scope)
        count = 1
        async for part in self._stored_records(scope):
            yield part
            count += 1
        yield Footer(0, count, b"")

    async def move_shared_in(self, header: ScopeHeader, parts: AsyncIterator[ExportRecord]) -> None:
        """Adds the records of a dump; existing ones stay."""
        key = without_session(header.scope.tenant, new_log_id())
        async for part in parts:
            if isinstance(part, RecordsPart):
                operations = (_restoring(header.scope, part),)
                await self._commits.submit(Commit(key=key, operations=operations, shows_session=False))

    async def _stored_records(self, scope: Scope) -> AsyncIterator[RecordsPart]:
        query = RecordQuery(scope, subtree=True, limit=RECORDS_AT_ONCE)
        while True:
            found = await self._store.records(query)
            if found.records:
                yield RecordsPart(found.records)
            if found.next is None:
                return
            query = query._replace(after=found.next)

    async def import_(
        self, key: SessionKey, *, records: AsyncIterator[ExportRecord], fail_if_exists: bool, request_id: str
    ) -> Session:
        """Recreates or replaces a session from a complete stream of records. Raises InvalidRequest if the stream is
        incomplete or was altered, SessionExists, InvalidState, EncryptionNotConfigured; nothing is changed then."""
        return await self._import(key, records, _Import(request_id, fail_if_exists=fail_if_exists))

    async def move_in(self, key: SessionKey, records: AsyncIterator[ExportRecord]) -> Session:
        """Recreates a session of another database; its log continues after its position there. Raises the same errors
        as `import_`."""
        return await self._import(key, records, _Import(fail_if_exists=True, moved=True))

    def prepare(self, key: SessionKey, records: Iterator[ExportRecord]) -> Commit:
        """Returns the commit that does the same for a small session. Raises the errors of reading the records, and
        InvalidRequest."""
        checker, taken = Checker(), list[ExportRecord]()
        for record in records:
            checker.take(record)
            taken.append(record)
        match taken:
            case [Header(session=exported), ContextRecord(context), *rest, Footer() as footer]:
                how = _Import(fail_if_exists=True, moved=True)
                opening = self._opening(key, exported, context, footer, how)
                contents = chain.from_iterable(_operations(key, record) for record in rest)
                return Commit(key=key, operations=(opening, *contents), shows_session=False)
            case _:
                raise _cut_short()

    def send_in(self, commits: Iterable[Commit]) -> list[Awaitable[Committed]]:
        """Sends prepared commits, to be committed together. Each result raises the errors of `move_in`."""
        return [self._commits.send(commit) for commit in commits]

    async def _import(self, key: SessionKey, records: AsyncIterator[ExportRecord], how: _Import) -> Session:
        first = await anext(records, None)
        if not isinstance(first, Header):
            raise _refused(
                "The stream does not start with its header; send every record of the export, in order."
            )
        with closing(Spool(sealed_if_possible(self._cells, key, SPOOL_COLUMN))) as spool:
            rows, footer = await _receive(first, records, spool)
            context = await asyncio.to_thread(_context, spool)
            # Not earlier, so that the data key is wrapped by the keyring's current key.
            opening = self._opening(key, first.session, context, footer, how)
            commit = Commit(key=key, request=how.stamp(footer), operations=(opening,))
            slices = partial(_slices, key, spool, how.request_id)
            try:
                if rows > SLICE_ROWS or spool.size_bytes > SLICE_BYTES:
                    committed = await self._commits.import_(
                        # So that the command that moves a database can be run again immediately after it was killed.
                        Import(opening=commit, slices=slices, at_once=how.moved)
                    )
                else:
                    operations = await asyncio.to_thread(lambda: tuple(chain.from_iterable(slices())))
                    committed = await self._commits.submit(commit._replace(operations=(opening, *operations)))
            except MessageExists:
                raise _refused("Two messages have the same id; send the messages as exported.") from None
        return committed.session_after()

    def _opening(
        self, key: SessionKey, exported: Session, context: JsonObject, footer: Footer, how: _Import
    ) -> ImportSession:
        return ImportSession(
            exported=exported,
            context=context,
            message_count=footer.message_count,
            log_id=new_log_id(),
            data_key=new_data_key(self._cells, key) if exported.storage.encryption else None,
            fail_if_exists=how.fail_if_exists,
            moved=how.moved,
        )


class _Import(NamedTuple):
    """The options of an import, apart from its records."""

    request_id: str = ""
    fail_if_exists: bool = False
    moved: bool = False

    def stamp(self, footer: Footer) -> RequestStamp | None:
        """The payload hash of the same stream is equal if it is to be treated the same way."""
        payload = footer.sha256 + bytes([self.fail_if_exists])
        return RequestStamp(self.request_id, "ImportSession", payload) if self.request_id else None


async def _receive(first: Header, records: AsyncIterator[ExportRecord], spool: Spool) -> tuple[int, Footer]:
    """Stores the whole stream. Returns how many messages and records of the session it has. Raises InvalidRequest
    unless it is complete and unaltered."""
    checker, rows = Checker(), 0
    checker.take(first)
    async for record in records:
        checker.take(record)
        rows += row_count(record)
        await spool.append(*pieces(record, MESSAGES_PER_RECORD))
    if not checker.finished:
        raise _cut_short()
    return rows, checker.footer()


def _context(spool: Spool) -> JsonObject:
    """It precedes everything that is stored of the stream."""
    record, _ = next(spool.records())
    return record.data if isinstance(record, ContextRecord) else {}


def _slices(key: SessionKey, spool: Spool, request_id: str) -> Iterator[Slice]:
    """The writer reads one slice at a time, so that a history of any length fits into memory."""
    for _, records in groupby(spool.records(), lambda each: type(each[0])):
        part: list[ImportMessages | ImportRecords] = []
        rows = size = 0
        for record, length in records:
            part += _operations(key, record, request_id)
            rows, size = rows + row_count(record), size + length
            if part and (rows >= SLICE_ROWS or size >= SLICE_BYTES):
                yield tuple(part)
                part, rows, size = [], 0, 0
        if part:
            yield tuple(part)


def _operations(
    key: SessionKey, record: ExportRecord, request_id: str = ""
) -> tuple[ImportMessages | ImportRecords, ...]:
    """The operations that import the messages or records of one stream record."""
    match record:
        case MessagesRecord(messages):
            return (ImportMessages(messages, request_id),)
        case RecordsPart():
            return (_restoring(Scope(*key), record),)
        case _:
            return ()


def _restoring(scope: Scope, part: RecordsPart) -> ImportRecords:
    """Puts exported records into a scope."""
    return ImportRecords(tuple(each._replace(name=each.name._replace(scope=scope)) for each in part.records))


def _miscounted() -> DataCorrupted:
    return DataCorrupted(
        "The session's stored counts do not match its log; restore the database from a backup."
    )


def _cut_short() -> InvalidRequest:
    return _refused("The stream ends before its footer; send every record of the export.")


def _refused(sentence: str) -> InvalidRequest:
    return InvalidRequest([Violation("record", sentence)])
