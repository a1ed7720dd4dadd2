"""Reads several things from one snapshot, with one statement for each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence as Seq
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from sessions_server.domain.context import MISSING, lookup
from sessions_server.domain.errors import SessionNotFound
from sessions_server.domain.models import Session
from sessions_server.domain.ports import HistoryPage
from sessions_server.domain.reads import (
    ContextRead,
    LeftOut,
    ReadContext,
    ReadHistory,
    ReadMessage,
    ReadRecord,
    ReadRecords,
    ReadSession,
    is_search,
)
from sessions_server.domain.record_reads import RecordPage
from sessions_server.domain.records import Record
from sessions_server.domain.sizes import body_bytes, struct_bytes
from sessions_server.storage import record_reads
from sessions_server.storage.read import (
    OfHistory,
    OfSession,
    find_messages,
    read_contexts,
    read_histories,
    read_sessions,
)
from sessions_server.storage.statements import read_clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import Context, Micros
    from sessions_server.domain.reads import Read, ReadResult
    from sessions_server.storage.rules import Rules

K = TypeVar("K")
ReadAll: TypeAlias = "Callable[[Seq[K]], Iterable[ReadResult | Exception]]"

_SMALL = 200
"""The approximate size of a result besides its content."""

_AROUND_VALUE = 20
"""The maximum size of a record of which only the value is returned, besides it."""


def read_together(
    connection: Connection, reads: Seq[Read], *, rules: Rules, now: Micros | None, settled: bool
) -> tuple[ReadResult, ...]:
    """The results in the order of the reads. In a write transaction if one restarts ttls. Raises the errors of single
    reads except SessionNotFound; Lapsing unless the sessions' writes have settled."""
    reader = _Reader(connection, rules, now, settled)
    found: dict[int, ReadResult | Exception] = {}
    found.update(_numbered(reads, ReadSession, reader.sessions))
    found.update(_numbered(reads, ReadHistory, reader.histories))
    found.update(_numbered(reads, ReadContext, reader.contexts))
    found.update(_numbered(reads, ReadMessage, reader.messages))
    found.update(_numbered(reads, ReadRecord, reader.records))
    found.update(_numbered(reads, ReadRecords, reader.pages))
    return tuple(_fitting([_result(found[number]) for number in range(len(reads))], rules.limits.read_bytes))


def read_in_write(
    connection: Connection, reads: Seq[Read], *, rules: Rules, now: Micros | None, settled: bool
) -> tuple[ReadResult, ...]:
    """The same in a write transaction. Raises LimitExceeded for a search that would delay others too long."""

    def read() -> tuple[ReadResult, ...]:
        return read_together(connection, reads, rules=rules, now=now, settled=settled)

    return rules.backend.search_in_write(connection, read) if any(map(is_search, reads)) else read()


def _numbered(
    reads: Seq[Read], kind: type[K], read: ReadAll[K]
) -> Iterable[tuple[int, ReadResult | Exception]]:
    """The results of the reads of one kind, by index."""
    places = [(number, each) for number, each in enumerate(reads) if isinstance(each, kind)]
    if not places:
        return ()
    return zip((number for number, _ in places), read([each for _, each in places]), strict=True)


@dataclass(frozen=True, slots=True)
class _Reader:
    connection: Connection
    rules: Rules
    now: Micros | None
    settled: bool

    def sessions(self, reads: Seq[ReadSession]) -> Iterable[Session | Exception]:
        asked = [OfSession(key, at, self.settled) for key, at in reads]
        return read_sessions(self.connection, asked, rules=self.rules, now=self.now)

    def histories(self, reads: Seq[ReadHistory]) -> Iterable[HistoryPage | Exception]:
        asked = [OfHistory(key, query, self.settled) for key, query in reads]
        return read_histories(self.connection, asked, rules=self.rules, now=self.now)

    def contexts(self, reads: Seq[ReadContext]) -> Iterator[ContextRead | Exception]:
        asked = [OfSession(key, at, self.settled) for key, _, at in reads]
        found = read_contexts(self.connection, asked, rules=self.rules, now=self.now)
        return (
            context if isinstance(context, Exception) else _part(context, read)
            for context, read in zip(found, reads, strict=True)
        )

    def messages(self, reads: Seq[ReadMessage]) -> Iterable[ReadResult]:
        found = find_messages(self.connection, reads, rules=self.rules, now=self.now)
        return (found.get((key, message_id)) for key, message_id in reads)

    def records(self, reads: Seq[ReadRecord]) -> Iterator[ReadResult]:
        now = read_clock(self.connection, self.now)
        names = {read.name for read in reads if not read.refresh_ttl}
        found = record_reads.read_records(self.connection, names, rules=self.rules, now=now)
        for name, refreshes in reads:
            if refreshes:
                yield record_reads.refresh_record(
                    self.connection, name, refresh_ttl=True, rules=self.rules, now=now
                )
            else:
                yield found.get(name)

    def pages(self, reads: Seq[ReadRecords]) -> Iterator[RecordPage]:
        for (query,) in reads:
            read = record_reads.refresh_page if query.refresh_ttl else record_reads.read_page
            yield read(self.connection, query, rules=self.rules, now=self.now)


def _part(context: Context, read: ReadContext) -> ContextRead:
    return ContextRead(context, lookup(context.data, read.path) if read.path else MISSING)


def _result(outcome: ReadResult | Exception) -> ReadResult:
    if isinstance(outcome, SessionNotFound):
        return None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _fitting(results: list[ReadResult], most: int) -> Iterator[ReadResult]:
    """The results, without those for which there is no room after the first."""
    total = 0
    for result in results:
        size = _bytes(result)
        if total and total + size > most:
            yield LeftOut()
            continue
        total += size
        yield result


def _bytes(result: ReadResult) -> int:
    """The approximate wire size of a result."""
    match result:
        case Session(metadata=metadata):
            return _SMALL + struct_bytes(metadata)
        case ContextRead(context, _):
            return _SMALL + struct_bytes(context.data)
        case HistoryPage(messages, _):
            return _SMALL + sum(_SMALL + body_bytes(message.body) for message in messages)
        case Record(value=value, labels=labels):
            return _SMALL + len(value) + struct_bytes(labels)
        case RecordPage(records, _, values):
            return _SMALL + _records_bytes(records) + sum(map(len, values)) + _AROUND_VALUE * len(values)
        case None | LeftOut():
            return 0
        case message:
            return _SMALL + body_bytes(message.body)


def _records_bytes(records: Seq[Record]) -> int:
    """Measures labels that many records share once."""
    distinct = {id(each.labels): each.labels for each in records}
    sizes = {number: struct_bytes(labels) for number, labels in distinct.items()}
    return sum(_SMALL + len(each.value) + sizes[id(each.labels)] for each in records)
