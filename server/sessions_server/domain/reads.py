"""Reads that can be made together, as of one instant: by `Read`, and by a commit right after it."""

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
    """The position as of which to read; None: now."""


class ReadContext(NamedTuple):
    key: SessionKey
    path: Path = ()
    at: Sequence | None = None
    """The position as of which to read; None: now."""


class ReadHistory(NamedTuple):
    key: SessionKey
    query: HistoryQuery


class ReadMessage(NamedTuple):
    key: SessionKey
    message_id: str


class ReadRecord(NamedTuple):
    name: RecordName
    refresh_ttl: bool = False
    """Starts the record's ttl again."""


class ReadRecords(NamedTuple):
    query: RecordQuery


Read: TypeAlias = ReadSession | ReadContext | ReadHistory | ReadMessage | ReadRecord | ReadRecords


def session_of(read: Read) -> SessionKey | None:
    """The session that a read is of; None: it is of records."""
    return None if isinstance(read, ReadRecord | ReadRecords) else read.key


def refreshes(read: Read) -> bool:
    """Whether the read starts ttls again, and so writes."""
    match read:
        case ReadRecord(refresh_ttl=refresh) | ReadRecords(RecordQuery(refresh_ttl=refresh)):
            return refresh
        case _:
            return False


def is_search(read: Read) -> bool:
    """Whether many more rows may be looked at than are returned."""
    return isinstance(read, ReadRecords) and read.query.is_search


class ContextRead(NamedTuple):
    context: Context
    value: Json | Missing
    """The value at the path that was asked for; MISSING when there is none, or no path was asked for."""


class LeftOut(NamedTuple):
    """The result of a read for which the answer had no room left."""


ReadResult: TypeAlias = "Session | ContextRead | HistoryPage | Message | Record | RecordPage | LeftOut | None"
"""What one read found; None: there is no such thing."""
