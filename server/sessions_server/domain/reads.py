"""Reads that can be combined in one snapshot: by `Read`, or by a commit right after its operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sessions_server.domain.context import Missing
from sessions_server.domain.record_reads import RecordQuery

if TYPE_CHECKING:
    from sessions_server.domain.context import Path
    from sessions_server.domain.models import Context, Json, Message, Sequence, Session, SessionKey
    from sessions_server.domain.ports import HistoryPage, HistoryQuery
    from sessions_server.domain.record_reads import RecordPage
    from sessions_server.domain.records import Record, RecordName


class ReadSession(NamedTuple):
    key: SessionKey
    at: Sequence | None = None
    """The position to read as of; None means now."""


class ReadContext(NamedTuple):
    key: SessionKey
    path: Path = ()
    at: Sequence | None = None
    """The position to read as of; None means now."""


class ReadHistory(NamedTuple):
    key: SessionKey
    query: HistoryQuery


class ReadMessage(NamedTuple):
    key: SessionKey
    message_id: str


class ReadRecord(NamedTuple):
    name: RecordName
    refresh_ttl: bool = False
    """Whether to restart the record's ttl."""


class ReadRecords(NamedTuple):
    query: RecordQuery


Read: TypeAlias = ReadSession | ReadContext | ReadHistory | ReadMessage | ReadRecord | ReadRecords


def session_of(read: Read) -> SessionKey | None:
    """The session that a read belongs to; None if it reads records."""
    return None if isinstance(read, ReadRecord | ReadRecords) else read.key


def tenant_of(read: Read) -> str:
    match read:
        case ReadRecord(name):
            return name.scope.tenant
        case ReadRecords(query):
            return query.scope.tenant
        case _:
            return read.key.tenant


def refreshes(read: Read) -> bool:
    """Whether the read restarts ttls, and so writes."""
    match read:
        case ReadRecord(refresh_ttl=refresh) | ReadRecords(RecordQuery(refresh_ttl=refresh)):
            return refresh
        case _:
            return False


def is_search(read: Read) -> bool:
    """Whether the read may examine many more rows than it returns: a filter leaves many out, and the past is computed
    from the log."""
    if isinstance(read, ReadSession | ReadContext):
        return read.at is not None
    return isinstance(read, ReadRecords) and read.query.is_search


class ContextRead(NamedTuple):
    context: Context
    value: Json | Missing
    """The value at the requested path; MISSING if there is none, or no path was requested."""


class LeftOut(NamedTuple):
    """The result of a read that did not fit into the response."""


ReadResult: TypeAlias = "Session | ContextRead | HistoryPage | Message | Record | RecordPage | LeftOut | None"
"""The result of one read; None if it does not exist."""
