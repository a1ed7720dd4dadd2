"""The state table: the transitions of each verb, and what may be written in each state."""

from __future__ import annotations

from sessions_server.domain.errors import InvalidState
from sessions_server.domain.models import Micros, Persistence, Session, State, StateReason
from sessions_server.domain.operations import Verb

TRANSITIONS: dict[Verb, tuple[frozenset[State], State]] = {
    Verb.START: (frozenset({State.CREATED}), State.ACTIVE),
    Verb.PAUSE: (frozenset({State.ACTIVE}), State.PAUSED),
    Verb.RESUME: (frozenset({State.PAUSED, State.EXPIRED}), State.ACTIVE),
    Verb.END: (frozenset({State.CREATED, State.ACTIVE, State.PAUSED, State.EXPIRED}), State.ENDED),
    Verb.ARCHIVE: (frozenset(State) - {State.ARCHIVED}, State.ARCHIVED),
}

CONTENT_WRITABLE = frozenset({State.CREATED, State.ACTIVE})
"""States in which messages and context can be written."""

SETTINGS_WRITABLE = frozenset(State) - {State.ARCHIVED}
"""States in which metadata, config and storage options can be written."""

_PAST = {
    Verb.START: "started",
    Verb.PAUSE: "paused",
    Verb.RESUME: "resumed",
    Verb.END: "ended",
    Verb.ARCHIVE: "archived",
}


def move(session: Session, verb: Verb, now: Micros) -> Session:
    """The session after a verb, with unchanged sequence and revision. Raises InvalidState."""
    sources, target = TRANSITIONS[verb]
    if session.state not in sources:
        wanted = " or ".join(sorted(state.upper() for state in sources))
        raise _refused(
            session, f"Only a session in {wanted} can be {_PAST[verb]}; not one in {session.state.upper()}."
        )
    if verb is Verb.RESUME and session.expiry_reason is StateReason.TTL:
        raise _refused(session, "The session's ttl is over, so it cannot be resumed; create a new session.")
    if verb is Verb.ARCHIVE and session.storage.persistence is Persistence.TEMPORARY:
        raise _refused(session, "A temporary session cannot be archived; end or delete it instead.")
    return enter(session, target, now)


def enter(session: Session, state: State, at: Micros, *, reason: StateReason | None = None) -> Session:
    """The session in another state, with the timestamps of that state."""
    return session._replace(
        state=state,
        update_time=at,
        active_time=at if state is State.ACTIVE else session.active_time,
        start_time=at if state is State.ACTIVE and session.start_time is None else session.start_time,
        end_time=at if state is State.ENDED else session.end_time,
        archive_time=at if state is State.ARCHIVED else session.archive_time,
        expiry_reason=reason if state is State.EXPIRED else None,
    )


def require_content_writable(session: Session) -> None:
    """Raises InvalidState if messages and context cannot be written."""
    if session.state not in CONTENT_WRITABLE:
        raise _refused(
            session,
            f"Messages and context can be written while a session is CREATED or ACTIVE; "
            f"this one is {session.state.upper()}.",
        )


def require_settings_writable(session: Session, now: Micros) -> None:
    """Raises InvalidState if metadata, config and storage options cannot be changed."""
    if session.state not in SETTINGS_WRITABLE:
        raise _refused(session, "An ARCHIVED session is read-only; create a new session instead.")
    if session.expire_time is not None and session.expire_time <= now:
        raise _refused(
            session, "The session's ttl is over and it is read-only; create a new session instead."
        )


def _refused(session: Session, sentence: str) -> InvalidState:
    return InvalidState(sentence, state=session.state.upper())
