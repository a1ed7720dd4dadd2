"""When a session expires and what happens then, computed from the session and a time alone.

From its deadline on a session is treated as expired, whether or not a write has recorded that: readers see `view`; a
writer first records the events of `lapse`, then decides on the result.
"""

from __future__ import annotations

from typing import NamedTuple

from sessions_server.domain.models import (
    Deleted,
    Event,
    EventData,
    EventType,
    ExpiryAction,
    Micros,
    Persistence,
    Sequence,
    Session,
    State,
    StateChange,
    StateReason,
)
from sessions_server.domain.replay import Snapshot, after

_IDLING = frozenset({State.CREATED, State.ACTIVE})
"""States in which the idle timer runs; it is stopped while a session is paused."""

_LIVING = frozenset({State.CREATED, State.ACTIVE, State.PAUSED})
"""States that become EXPIRED at the end of the ttl if the session is retained."""


class Due(NamedTuple):
    """The next timer event of a session."""

    at: Micros
    state: State | None
    """The new state; None if the session is erased."""
    reason: StateReason


class Lapsed(NamedTuple):
    session: Session | None
    """The session afterwards; None if it was erased."""
    last_sequence: Sequence
    events: tuple[Event, ...]


def erased_by_ttl(session: Session) -> bool:
    storage = session.storage
    return storage.persistence is Persistence.TEMPORARY or storage.expiry_action is ExpiryAction.DELETE


def next_due(session: Session) -> Due | None:
    """The earlier of the idle timeout and the end of the ttl; the ttl if they coincide."""
    if (
        session.config.timeout is None and session.storage.ttl is None
    ):  # fast path: every write calls this, and most sessions have neither
        return None
    by_ttl, by_idling = _ttl_due(session), _idle_due(session)
    if by_ttl is None or (by_idling is not None and by_idling.at < by_ttl.at):
        return by_idling
    return by_ttl


def lapse(session: Session, now: Micros) -> Lapsed:
    """Everything that was due at `now`, in order. Has no events if nothing was due."""
    events: list[Event] = []
    while (due := next_due(session)) is not None and due.at <= now:
        sequence = Sequence(session.last_sequence + 1)
        data: EventData = Deleted()
        if due.state is not None:
            data = StateChange(state=due.state, previous_state=session.state, reason=due.reason)
        kind = EventType.DELETED if due.state is None else EventType.STATE_CHANGE
        events.append(Event(session.key, sequence, kind, due.at, "", data))
        left = after(Snapshot(session), events[-1]).session
        if left is None:
            return Lapsed(None, sequence, tuple(events))
        session = left
    return Lapsed(session, session.last_sequence, tuple(events))


def view(session: Session, now: Micros) -> Session | None:
    """The session as a reader sees it at `now`; None if it is to be treated as erased.

    The etag is already that of the pending expiry, so that it stays valid once the expiry is recorded. last_sequence is
    the actual head of the log, so that it can be used to subscribe.
    """
    due = next_due(session)
    if due is None or due.at > now:
        return session
    left = lapse(session, now).session
    return None if left is None else left._replace(last_sequence=session.last_sequence)


def _idle_due(session: Session) -> Due | None:
    timeout = session.config.timeout
    if timeout is None or session.state not in _IDLING:
        return None
    return Due(Micros(session.active_time + timeout), State.EXPIRED, StateReason.IDLE_TIMEOUT)


def _ttl_due(session: Session) -> Due | None:
    end = session.expire_time
    if end is None:
        return None
    if erased_by_ttl(session):
        return Due(end, None, StateReason.TTL)
    if session.storage.expiry_action is ExpiryAction.ARCHIVE:
        return None if session.state is State.ARCHIVED else Due(end, State.ARCHIVED, StateReason.TTL)
    if session.state in _LIVING or _idle_expired(session):
        return Due(end, State.EXPIRED, StateReason.TTL)
    return None


def _idle_expired(session: Session) -> bool:
    return session.state is State.EXPIRED and session.expiry_reason is not StateReason.TTL
