"""What a decision is made from, what it says, and the parts that all decisions are put together from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from sessions_server.domain.errors import EncryptionNotConfigured, EtagMismatch, SessionNotFound
from sessions_server.domain.models import (
    Answer,
    Context,
    Event,
    EventData,
    EventType,
    Message,
    Micros,
    Sequence,
    Session,
    StorageOptions,
)

if TYPE_CHECKING:
    from sessions_server.domain import commands as c
    from sessions_server.domain.limits import Limits


class Facts(NamedTuple):
    """What is known when a command is decided. The session has no expiry due."""

    now: Micros
    limits: Limits
    session: Session | None
    last_sequence: Sequence
    """The log's head, also of an id whose session was erased."""
    context: Context | None
    """The stored context; None when it was never written, or the command does not need it."""
    messages: Mapping[str, Message]
    """The stored messages that bear an id which a caller chose."""


class Decision(NamedTuple):
    session: Session | None
    """The session after the command; None: it is erased, with all that belongs to it."""
    last_sequence: Sequence
    events: tuple[Event, ...] = ()
    context: Context | None = None
    """The context to store; None: as it was."""
    clears_history: bool = False
    """Every message before this command's events leaves the history."""
    drops_oldest: int = 0
    """How many of the oldest messages leave the history, the new ones counted."""
    answer: Answer = None


def require_session(facts: Facts) -> Session:
    if facts.session is None:
        raise SessionNotFound
    return facts.session


def require_data_key(storage: StorageOptions, data_key: bytes | None) -> None:
    """A session that is to be encrypted needs one, which only a server with a keyring makes."""
    if storage.encryption and data_key is None:
        raise EncryptionNotConfigured


def match_etag(command: c.Base, revision: Sequence) -> None:
    if command.etag and command.etag != str(revision):
        raise EtagMismatch(str(revision))


def next_sequence(facts: Facts) -> Sequence:
    return Sequence(facts.last_sequence + 1)


def event_of(
    facts: Facts, command: c.Base, kind: EventType, data: EventData, sequence: Sequence | None = None
) -> Event:
    request_id = command.request.id if command.request else ""
    return Event(command.key, sequence or next_sequence(facts), kind, facts.now, request_id, data)


def session_event(
    facts: Facts, command: c.Base, session: Session, kind: EventType, data: EventData
) -> Decision:
    """The decision that changes the session itself, and so its etag, with one event."""
    event = event_of(facts, command, kind, data)
    after = session._replace(last_sequence=event.sequence, revision=event.sequence)
    return Decision(after, event.sequence, (event,), answer=after)


def unchanged(session: Session, answer: Answer) -> Decision:
    return Decision(session, session.last_sequence, answer=answer)
