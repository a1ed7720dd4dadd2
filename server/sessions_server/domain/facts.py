"""What a decision is made from, what it says, and the parts that all decisions are put together from. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sessions_server.domain.errors import EncryptionNotConfigured, SessionNotFound
from sessions_server.domain.history import History
from sessions_server.domain.models import (
    Context,
    Event,
    EventData,
    EventType,
    Micros,
    Sequence,
    Session,
    SessionKey,
    StorageOptions,
)
from sessions_server.domain.records import Records
from sessions_server.domain.replay import Snapshot, replay

if TYPE_CHECKING:
    from sessions_server.domain.commit import Result
    from sessions_server.domain.limits import Limits


class Facts(NamedTuple):
    """What is known of a session when a commit is decided. Nothing of it is due to expire."""

    key: SessionKey
    now: Micros
    limits: Limits
    snapshot: Snapshot = Snapshot()
    """The context is None also when no commit needs it."""
    last_sequence: Sequence = Sequence(0)
    """The log's head, also of an id whose session was erased."""
    history: History = History()
    records: Records = Records()
    request_id: str = ""
    """Of the commit that is decided; it becomes part of the events."""

    @property
    def session(self) -> Session | None:
        return self.snapshot.session

    @property
    def context(self) -> Context | None:
        return self.snapshot.context

    def after(self, decision: Decision) -> Facts:
        """The facts after a decision, which is nothing but its events folded."""
        events, history, records = decision.events, decision.history, decision.records
        return Facts(
            self.key,
            self.now,
            self.limits,
            replay(self.snapshot, events) if events else self.snapshot,
            events[-1].sequence if events else self.last_sequence,
            self.history if history is None else history,
            self.records if records is None else records,
            self.request_id,
        )


class Decision(NamedTuple):
    """What one operation, or one run of like operations, does."""

    events: tuple[Event, ...] = ()
    results: tuple[Result, ...] = ()
    """One for each operation."""
    history: History | None = None
    """The history after it; None: as it was."""
    records: Records | None = None
    """The records after it; None: as they were."""
    forgets_past: bool = False
    """The context's values before this are erased from the log."""
    shown: Session | None = None
    """The session that the caller is told of; None: as it is after the events."""


def require_session(facts: Facts) -> Session:
    session = facts.snapshot.session
    if session is None:
        raise SessionNotFound
    return session


def require_data_key(storage: StorageOptions, data_key: bytes | None) -> None:
    """A session that is to be encrypted needs one, which only a server with a keyring makes."""
    if storage.encryption and data_key is None:
        raise EncryptionNotConfigured


def event_of(facts: Facts, kind: EventType, data: EventData, *, offset: int = 1) -> Event:
    """The next event of the log or, with another offset, one after it."""
    sequence = Sequence(facts.last_sequence + offset)
    return Event(facts.key, sequence, kind, facts.now, facts.request_id, data)
