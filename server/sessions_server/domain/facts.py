"""Facts, the input of a decision; its result; and helpers shared by all decisions. Pure."""

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
from sessions_server.domain.replay import Snapshot, after, replay

if TYPE_CHECKING:
    from sessions_server.domain.commit import Result
    from sessions_server.domain.limits import Limits


class Facts(NamedTuple):
    """What is known about a session when a commit is decided. No expiry is due."""

    key: SessionKey
    now: Micros
    limits: Limits
    snapshot: Snapshot = Snapshot()
    """The context is None also if no commit needs it."""
    last_sequence: Sequence = Sequence(0)
    """The log's head, even if the session was erased."""
    history: History = History()
    records: Records = Records()
    request_id: str = ""
    """The request id of the commit, which goes into its events."""

    @property
    def session(self) -> Session | None:
        return self.snapshot.session

    @property
    def context(self) -> Context | None:
        return self.snapshot.context

    def after(self, decision: Decision) -> Facts:
        """The facts after a decision, computed by applying its events."""
        events, history, records = decision.events, decision.history, decision.records
        snapshot = self.snapshot
        if len(events) == 1:  # most commits
            snapshot = after(snapshot, events[0])
        elif events:
            snapshot = replay(snapshot, events)
        return Facts(
            self.key,
            self.now,
            self.limits,
            snapshot,
            events[-1].sequence if events else self.last_sequence,
            self.history if history is None else history,
            self.records if records is None else records,
            self.request_id,
        )


class Decision(NamedTuple):
    """The effect of one operation, or of a run of similar ones."""

    events: tuple[Event, ...] = ()
    results: tuple[Result, ...] = ()
    """One per operation."""
    history: History | None = None
    """The history afterwards; None if unchanged."""
    records: Records | None = None
    """The records afterwards; None if unchanged."""
    forgets_past: bool = False
    """Whether the context's earlier values are erased from the log."""
    shown: Session | None = None
    """The session to return to the caller; None for the state after the events."""


def require_session(facts: Facts) -> Session:
    """The session. Raises SessionNotFound."""
    session = facts.snapshot.session
    if session is None:
        raise SessionNotFound
    return session


def require_data_key(storage: StorageOptions, data_key: bytes | None) -> None:
    """An encrypted session needs a data key, which only a server with a keyring creates. Raises
    EncryptionNotConfigured."""
    if storage.encryption and data_key is None:
        raise EncryptionNotConfigured


def event_of(facts: Facts, kind: EventType, data: EventData, *, offset: int = 1) -> Event:
    """The next event of the log, or a later one with another offset."""
    sequence = Sequence(facts.last_sequence + offset)
    return Event(facts.key, sequence, kind, facts.now, facts.request_id, data)
