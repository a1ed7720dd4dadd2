"""Converts rows to domain values and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sessions_server.domain.expiry import lapse, next_due, view
from sessions_server.domain.jsonbytes import loads_object
from sessions_server.domain.models import (
    SECOND,
    ExpiryAction,
    ForkedFrom,
    Micros,
    Overflow,
    Persistence,
    Sequence,
    Session,
    SessionConfig,
    SessionKey,
    State,
    StateReason,
    StorageOptions,
)
from sessions_server.storage import schema, spans
from sessions_server.storage.damage import UNREADABLE, damaged
from sessions_server.storage.kinds import Kinds

if TYPE_CHECKING:
    from sessions_server.storage.spans import Spans
    from sessions_server.storage.statements import Row

SESSION_COLUMNS: Final = tuple(
    schema.json_text(column) if column.name in ("metadata", "hidden") else column
    for column in schema.sessions.c
)
SESSION_WIDTH: Final = len(SESSION_COLUMNS)

_COLUMN: Final = {column.name: index for index, column in enumerate(SESSION_COLUMNS)}
_DUE_TIME: Final = _COLUMN["due_time"]
_DATA_KEY: Final = _COLUMN["data_key"]
_METADATA: Final = _COLUMN["metadata"]
_FORKED_SESSION_ID: Final = _COLUMN["forked_session_id"]
_FORKED_SEQUENCE: Final = _COLUMN["forked_sequence"]

_KINDS: Final = Kinds(SESSION_COLUMNS)
_LARGEST_COUNT: Final = 2**31 - 1
_LAST_POSITION: Final = 2**62
_EARLIEST: Final = -62_135_596_800 * SECOND
_LATEST: Final = 253_402_300_799 * SECOND
"""The times on the wire: from the year 1 to the end of the year 9999. Imported sessions may be older than 1970."""

_RANGES: Final = tuple(
    (_COLUMN[name], least, most)
    for (least, most), names in {
        (0, _LARGEST_COUNT): ("max_messages", "context_window"),
        (0, _LAST_POSITION): ("message_count", "last_sequence"),
        (0, _LATEST): ("timeout", "ttl"),
        (_EARLIEST, _LATEST): ("create_time", "update_time", "start_time", "end_time", "archive_time"),
    }.items()
    for name in names
)

_STATES: Final = {str(value): value for value in State}
_OVERFLOWS: Final = {str(value): value for value in Overflow}
_PERSISTENCES: Final = {str(value): value for value in Persistence}
_ACTIONS: Final = {str(value): value for value in ExpiryAction}
_REASONS: Final = {str(value): value for value in StateReason}


def session_from_row(row: Row) -> Session:
    """The stored session, from a row that starts with SESSION_COLUMNS. Raises DataCorrupted."""
    try:
        _check(row)
        return _session_from_row(row)
    except UNREADABLE as error:
        raise damaged(row[:2], error) from error


def _session_from_row(row: Row) -> Session:
    # fmt: off
    (
        tenant, session_id, user_id, state, timeout, max_messages, context_window, overflow,
        persistence, encryption, ttl, expiry_action,
        message_count, last_sequence, revision, history_start, log_start,
        create_time, update_time, active_time, start_time, end_time, archive_time, expiry_reason,
        history_head, log_id, forked_session_id, forked_sequence,
    ) = row[:_DUE_TIME]
    return Session(
        SessionKey(tenant, session_id), user_id, _STATES[state], loads_object(row[_METADATA]),
        SessionConfig(timeout, max_messages, context_window, _OVERFLOWS[overflow]),
        StorageOptions(_PERSISTENCES[persistence], bool(encryption), ttl, _ACTIONS[expiry_action]),
        message_count, last_sequence, revision, history_start, log_start,
        create_time, update_time, active_time, start_time, end_time, archive_time,
        None if expiry_reason is None else _REASONS[expiry_reason], row[_DATA_KEY],
        history_head, log_id, None if forked_session_id is None else ForkedFrom(forked_session_id, forked_sequence),
    )
    # fmt: on


def _check(row: Row) -> None:
    """Raises TypeError, ValueError for a row that no write can have produced."""
    _KINDS.check(row[:SESSION_WIDTH])
    for index, least, most in _RANGES:
        number = row[index]
        if number is not None and not least <= number <= most:
            raise ValueError("a number out of its range is stored here")
    if (row[_FORKED_SESSION_ID] is None) is not (row[_FORKED_SEQUENCE] is None):
        raise ValueError("half of where the session was forked is stored here")


def is_lapsing(row: Row, now: Micros) -> bool:
    """Whether an expiry is due but not recorded."""
    due_time = row[_DUE_TIME]
    return due_time is not None and due_time <= now


def session_view(row: Row, now: Micros) -> Session | None:
    """The session as a reader sees it; None if it counts as erased. Raises DataCorrupted."""
    session = session_from_row(row)
    return view(session, now) if is_lapsing(row, now) else session


class Upkeep(NamedTuple):
    """What only the store knows about a session."""

    compact_time: Micros | None
    """When to check whether the log's first events can be removed."""
    replay_start: Sequence | None
    """The first position whose state can be read; None if only the head's can."""
    tx: int
    """The last transaction that wrote it."""
    hidden: Spans = ()
    """Where messages left the history but are still stored."""
    records_start: Sequence = Sequence(0)
    """The `records_start` of the session's records; others are hidden."""
    import_start: Sequence | None = None
    """The first position of an import under way that will replace the session."""


def upkeep(row: Row) -> Upkeep:
    return Upkeep(
        row[_COLUMN["compact_time"]],
        row[_COLUMN["replay_start"]],
        row[_COLUMN["tx"]],
        spans.decode(row[_COLUMN["hidden"]], row[:2]),
        records_start(row),
        row[_COLUMN["import_start"]],
    )


def records_start(row: Row) -> Sequence:
    """The `records_start` of the session's records; others are hidden."""
    found = row[_COLUMN["records_start"]]
    return Sequence(found if isinstance(found, int) else 0)


def metadata_size(row: Row) -> int:
    """The size of the session's metadata, in bytes or characters of JSON."""
    return len(row[_METADATA])


class Schedule(NamedTuple):
    """The next timer events of a session; at most two: an idle timeout, then the end of the ttl."""

    due_time: Micros | None = None
    due_state: str | None = None
    last_due_time: Micros | None = None
    last_due_state: str | None = None


_NOTHING_DUE: Final = Schedule()


def schedule(session: Session) -> Schedule:
    first = next_due(session)
    if first is None:
        return _NOTHING_DUE
    if first.state is None:
        return Schedule(first.at, schema.ERASED)
    if session.storage.ttl is None:  # nothing follows an idle timeout
        return Schedule(first.at, first.state)
    after = lapse(session, first.at).session
    second = next_due(after) if after is not None else None
    if second is None:
        return Schedule(first.at, first.state)
    return Schedule(first.at, first.state, second.at, second.state or schema.ERASED)


def counter_values(session: Session, tx: int) -> tuple[Any, ...]:
    """The columns that every write of a session changes, in the order of COUNTER_COLUMNS."""
    return (
        session.message_count,
        session.last_sequence,
        session.revision,
        session.history_start,
        session.history_head,
        session.update_time,
        session.active_time,
        tx,
        *schedule(session),
    )


COUNTER_COLUMNS: Final = (
    "message_count",
    "last_sequence",
    "revision",
    "history_start",
    "history_head",
    "update_time",
    "active_time",
    "tx",
    "due_time",
    "due_state",
    "last_due_time",
    "last_due_state",
)


def stage_values(session: Session, upkeep: Upkeep) -> tuple[Any, ...]:
    """The columns that few writes change, in the order of STAGE_COLUMNS."""
    return (
        session.state,
        session.start_time,
        session.end_time,
        session.archive_time,
        session.expiry_reason,
        session.log_id,
        upkeep.compact_time,
        upkeep.replay_start,
        spans.encode(upkeep.hidden),
        upkeep.records_start,
        upkeep.import_start,
    )


# Separate, since SQLite rewrites every index with an assigned column, even if the value is unchanged.
STAGE_COLUMNS: Final = (
    "state",
    "start_time",
    "end_time",
    "archive_time",
    "expiry_reason",
    "log_id",
    "compact_time",
    "replay_start",
    "hidden",
    "records_start",
    "import_start",
)


def settings_values(session: Session, metadata: str) -> tuple[Any, ...]:
    """The columns that only writes of the session itself change, in the order of SETTINGS_COLUMNS."""
    config, storage = session.config, session.storage
    return (
        config.timeout,
        config.max_messages,
        config.context_window,
        config.overflow,
        storage.ttl,
        storage.expiry_action,
        metadata,
    )


SETTINGS_COLUMNS: Final = (
    "timeout",
    "max_messages",
    "context_window",
    "overflow",
    "ttl",
    "expiry_action",
    "metadata",
)


def fixed_values(session: Session) -> tuple[Any, ...]:
    """The columns that never change, in the order of FIXED_COLUMNS."""
    return (
        *session.key,
        session.user_id,
        session.storage.persistence,
        int(session.storage.encryption),
        session.log_start,
        session.create_time,
        session.data_key,
        *(session.forked_from or (None, None)),
    )


FIXED_COLUMNS: Final = (
    "tenant",
    "session_id",
    "user_id",
    "persistence",
    "encryption",
    "log_start",
    "create_time",
    "data_key",
    "forked_session_id",
    "forked_sequence",
)
