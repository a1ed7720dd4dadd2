"""The sessions of one transaction: commits are applied in memory, one after another, and saved at the end.

The store loads what the commits need into a workspace, the writer applies the commits, and the store saves the changes.
A refused commit leaves its session unchanged, except for an expiry that was due anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sessions_server.domain.decide import decide
from sessions_server.domain.errors import ImportUnderWay, RequestIdReused, SessionNotFound, StillErasing
from sessions_server.domain.expiry import lapse
from sessions_server.domain.facts import Decision, Facts
from sessions_server.domain.history import History
from sessions_server.domain.models import Event, Micros, Sequence, SessionKey
from sessions_server.domain.records import Records
from sessions_server.domain.replay import Snapshot
from sessions_server.domain.requests import StoredRequest, keep

if TYPE_CHECKING:
    from sessions_server.domain.commit import Commit, Committed, RequestStamp
    from sessions_server.domain.limits import Limits


class Base(NamedTuple):
    """The state at a position of the log, from which later states can be computed."""

    sequence: Sequence
    snapshot: Snapshot


@dataclass(slots=True)
class Slot:
    """One session in a workspace."""

    loaded: Facts
    """As stored."""
    facts: Facts
    """As changed by the commits so far."""
    requests: dict[str, StoredRequest] = field(default_factory=dict)
    """Recorded request ids that commits name."""
    new_requests: dict[str, StoredRequest] = field(default_factory=dict)
    """Request ids to record."""
    erased: bool = False
    """Whether everything stored of the session is erased before the changes are written."""
    log: list[Event] = field(default_factory=list)
    """Events to store."""
    published: list[Event] = field(default_factory=list)
    """Events to publish to watchers, including those of an erased session, which are not stored."""
    key: SessionKey = field(init=False)
    hidden_through: Sequence = Sequence(0)
    """Content up to this position must no longer be shown to watchers: it was removed, or the session was erased."""
    base: Base | None = None
    """Past states before this one are erased; None if none are."""
    erasing: bool = False
    """Whether what was stored under this id is still being erased; a new session must not be mixed up with it."""
    erased_in_steps: bool = False
    """Whether the stored session, if these commits erase it, is still being erased after them."""
    importing: bool = False
    """Whether an import with this id is under way. Nothing may be written then."""

    def __post_init__(self) -> None:
        self.key = self.facts.key

    @property
    def changed(self) -> bool:
        """Whether anything must be saved."""
        return bool(self.published or self.new_requests)

    def check_free(self) -> None:
        """Raises ImportUnderWay, StillErasing unless a session with the id may be created, or written, now."""
        if self.importing:
            raise ImportUnderWay
        if self.erasing or (self.erased and self.erased_in_steps):
            raise StillErasing


class Published(NamedTuple):
    """What watchers of a session learn once the transaction is durable."""

    key: SessionKey
    events: list[Event]
    head: Sequence
    """The log's new head."""
    erased_through: Sequence
    """Content up to this position must no longer be shown."""
    log_id: str = ""
    """The identity of the log up to its newest event; empty if not known."""


@dataclass(slots=True)
class Workspace:
    now: Micros
    limits: Limits
    slots: dict[SessionKey, Slot]
    busy: frozenset[SessionKey] = frozenset()
    """Sessions locked by another transaction, which have no slot here."""
    loaded_records: Records = field(default_factory=Records)
    """The records that the commits need, as stored."""
    records: Records = field(default_factory=Records)
    """The same records, as changed by the commits so far."""

    def apply(self, commit: Commit) -> Committed:
        """Applies one commit. A repetition returns the first result. Raises DomainError."""
        slot, stamp = self.slots[commit.key], commit.request
        if stamp is not None and (first := slot.requests.get(stamp.id)) is not None:
            return self._repeated(slot, first, stamp)
        self._lapse(slot)
        before = slot.facts
        facts = Facts(
            before.key,
            self.now,
            self.limits,
            before.snapshot,
            before.last_sequence,
            before.history,
            self.records,
            stamp.id if stamp is not None else "",
        )
        outcome = decide(facts, commit)
        if before.session is not None or outcome.facts.session is not None:
            slot.check_free()
        self.records = outcome.facts.records
        self._take(slot, outcome.facts, outcome.events)
        if outcome.forgets_past and slot.facts.session is not None:
            slot.hidden_through = slot.facts.last_sequence
            slot.base = Base(slot.facts.last_sequence, slot.facts.snapshot)
        if stamp is not None:
            kept = keep(commit, outcome.committed, outcome.facts)
            outlives = bool(outcome.events) and slot.facts.session is None
            request = StoredRequest(stamp, self.now, outcome.committed, kept, outlives)
            slot.requests[stamp.id] = slot.new_requests[stamp.id] = request
        return outcome.committed

    def _repeated(self, slot: Slot, first: StoredRequest, stamp: RequestStamp) -> Committed:
        if first.stamp != stamp:
            raise RequestIdReused(
                "This request_id was used for another request within the last day; send a fresh request_id.",
                first_method=first.stamp.method,
            )
        self._lapse(slot)
        answer = slot.requests[stamp.id].answer
        if answer is None:
            raise SessionNotFound
        return answer

    def _lapse(self, slot: Slot) -> None:
        facts = slot.facts
        if facts.session is None:
            return
        lapsed = lapse(facts.session, self.now)
        if lapsed.events:
            slot.check_free()
            self._take(slot, facts.after(Decision(lapsed.events)), lapsed.events)

    def _take(self, slot: Slot, facts: Facts, events: tuple[Event, ...]) -> None:
        before, slot.facts = slot.facts, facts
        if not events:
            return
        slot.published.extend(events)
        slot.log.extend(events)
        for span in facts.history.removed[len(before.history.removed) :]:
            slot.hidden_through = max(slot.hidden_through, span.last)
        if facts.session is None:
            slot.hidden_through = before.last_sequence
            self._erase(slot)

    def _erase(self, slot: Slot) -> None:
        """Keeps nothing of the session except the head of its log and which requests were answered."""
        slot.erased = True
        slot.facts = slot.facts._replace(history=History())
        slot.base = None
        slot.log.clear()
        slot.requests = {id_: request.without_answer() for id_, request in slot.requests.items()}
        slot.new_requests = {id_: slot.requests[id_] for id_ in slot.new_requests}
        self.records = self.records.without_session(slot.key)
