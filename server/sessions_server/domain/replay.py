"""Computes the state of a session from its events: only `after` defines what an event changes.

A commit is decided as events, and its effect is computed here as well, so the stored state always equals a replay of
the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sessions_server.domain.context import apply
from sessions_server.domain.lifecycle import enter
from sessions_server.domain.models import Context, EventType, Overflow, Sequence, Session

if TYPE_CHECKING:
    from sessions_server.domain.models import (
        ContextChange,
        Created,
        Event,
        HistoryTruncated,
        Imported,
        JsonObject,
        MessageErased,
        SessionSettings,
        StateChange,
        StorageOptions,
        Updated,
    )


class Snapshot(NamedTuple):
    """A session and its context at one position of the log."""

    session: Session | None = None
    """None if the session does not exist or was erased."""
    context: Context | None = None
    """None if it was never written or is not known."""


NOTHING: Final = Snapshot()

_KIND: Final = attrgetter("type", "imported")
"""Messages with an equal key are folded in one step."""


def replay(base: Snapshot, events: Iterable[Event]) -> Snapshot:
    """The state after `events`, which follow the base without gaps. The content of messages is ignored."""
    snapshot = base
    for (kind, _), run in groupby(events, _KIND):
        if kind is EventType.MESSAGE and snapshot.session is not None:
            snapshot = Snapshot(_with_messages(snapshot.session, list(run)), snapshot.context)
        else:
            for event in run:
                snapshot = after(snapshot, event)
    return snapshot


def after(before: Snapshot, event: Event) -> Snapshot:
    """The state after one more event."""
    session = before.session
    if session is None:
        return _begin(event)
    if event.type is EventType.MESSAGE:
        return Snapshot(_with_messages(session, [event]), before.context)
    return _FOLDS[event.type](session, before, event, event.data)


def updated_settings(
    settings: SessionSettings, paths: Iterable[str], given: SessionSettings
) -> SessionSettings:
    """The settings after replacing the fields named by `paths` with the given values."""
    metadata, config, storage = settings
    for path in paths:
        top, dot, rest = path.partition(".")
        if top == "metadata":
            metadata = _metadata_after(metadata, given.metadata, rest) if dot else given.metadata
        elif top == "config":
            config = config._replace(**{rest: getattr(given.config, rest)}) if rest else given.config
        else:
            storage = _storage_after(storage, given.storage, rest)
    return settings._replace(metadata=metadata, config=config, storage=storage)


def _metadata_after(metadata: JsonObject, given: JsonObject, key: str) -> JsonObject:
    if key in given:
        return {**metadata, key: given[key]}
    return {name: value for name, value in metadata.items() if name != key}


def _storage_after(storage: StorageOptions, given: StorageOptions, field: str) -> StorageOptions:
    return storage._replace(**{field: getattr(given, field)})


def _begin(event: Event) -> Snapshot:
    if event.type is EventType.CREATED:
        data: Created = _known(event.data)
        context = None if data.context is None else Context(data.context, event.sequence, event.time)
        return Snapshot(data.session, context)
    if event.type is EventType.IMPORTED:
        return _import(event, _known(event.data))
    raise ValueError("the events of a session do not begin with its creation, and there is no base for them")


def _import(event: Event, data: Imported) -> Snapshot:
    return Snapshot(data.session, Context(_known(data.context), event.sequence, event.time))


def _with_messages(session: Session, run: list[Event]) -> Session:
    """After messages that follow each other, all of them imported or none."""
    last, count, most = run[-1], session.message_count + len(run), session.config.max_messages
    if last.imported:
        return session._replace(message_count=count, last_sequence=last.sequence, history_head=last.sequence)
    if most and count > most and session.config.overflow is Overflow.TRUNCATE_OLDEST:
        count = most
    # Every message passes through here, and `_replace` takes four times as long.
    values = list(session)
    values[_MESSAGE_COUNT] = count
    values[_LAST_SEQUENCE] = values[_HISTORY_HEAD] = last.sequence
    values[_UPDATE_TIME] = values[_ACTIVE_TIME] = last.time
    return Session._make(values)


_MESSAGE_COUNT, _LAST_SEQUENCE, _HISTORY_HEAD, _UPDATE_TIME, _ACTIVE_TIME = map(
    Session._fields.index, ("message_count", "last_sequence", "history_head", "update_time", "active_time")
)


def _touched(session: Session, event: Event, **changes: Any) -> Session:
    """The session after a content write, which resets the idle timer but keeps the etag."""
    return session._replace(
        last_sequence=event.sequence, update_time=event.time, active_time=event.time, **changes
    )


def _context_changed(session: Session, before: Snapshot, event: Event, data: ContextChange) -> Snapshot:
    stored = {} if before.context is None else before.context.data
    context = apply(stored, _known(data.changes))
    return Snapshot(_touched(session, event), Context(context, event.sequence, event.time))


def _updated(session: Session, before: Snapshot, event: Event, data: Updated) -> Snapshot:
    values: SessionSettings = _known(data.values)
    now = updated_settings(session.settings, data.paths, values)
    return before._replace(
        session=session._replace(
            metadata=now.metadata,
            config=now.config,
            storage=now.storage,
            last_sequence=event.sequence,
            revision=event.sequence,
            update_time=event.time,
        )
    )


def _moved(session: Session, before: Snapshot, event: Event, data: StateChange) -> Snapshot:
    moved = enter(session, data.state, event.time, reason=data.reason)
    return before._replace(session=moved._replace(last_sequence=event.sequence, revision=event.sequence))


def _cleared(session: Session, before: Snapshot, event: Event, _: object) -> Snapshot:
    return before._replace(
        session=_touched(session, event, message_count=0, history_head=Sequence(0)),
    )


def _truncated(session: Session, before: Snapshot, event: Event, data: HistoryTruncated) -> Snapshot:
    count = session.message_count - data.removed_count
    return before._replace(
        session=_touched(session, event, message_count=count, history_head=data.head_sequence)
    )


def _erased(session: Session, before: Snapshot, event: Event, data: MessageErased) -> Snapshot:
    count = session.message_count - 1
    return before._replace(
        session=_touched(session, event, message_count=count, history_head=data.head_sequence)
    )


def _records_changed(session: Session, before: Snapshot, event: Event, _: object) -> Snapshot:
    return before._replace(session=_touched(session, event))


def _imported(_session: Session, _before: Snapshot, event: Event, data: Imported) -> Snapshot:
    return _import(event, data)


def _deleted(_session: Session, _before: Snapshot, _event: Event, _: object) -> Snapshot:
    return NOTHING


_FOLDS: Final[dict[EventType, Callable[[Session, Snapshot, Event, Any], Snapshot]]] = {
    EventType.CONTEXT_CHANGE: _context_changed,
    EventType.UPDATED: _updated,
    EventType.STATE_CHANGE: _moved,
    EventType.HISTORY_CLEARED: _cleared,
    EventType.HISTORY_TRUNCATED: _truncated,
    EventType.MESSAGE_ERASED: _erased,
    EventType.RECORDS_CHANGE: _records_changed,
    EventType.IMPORTED: _imported,
    EventType.DELETED: _deleted,
}


def _known(value: Any) -> Any:
    if value is None:
        raise ValueError("an event without its change cannot be replayed")
    return value
