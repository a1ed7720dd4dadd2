"""The sessions of one transaction: commands are applied to them in memory, one after another, and saved at the end.

The store fills a workspace with what the commands name, the writer applies them, the store writes what has changed.
A command that is refused leaves its session as it was, but for an expiry that was due anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sessions_server.domain.commands import Delete
from sessions_server.domain.decide import decide
from sessions_server.domain.decision import Decision, Facts
from sessions_server.domain.errors import RequestIdReused
from sessions_server.domain.expiry import lapse, view
from sessions_server.domain.models import (
    Answer,
    Context,
    Event,
    Message,
    Micros,
    Sequence,
    Session,
    SessionKey,
)

if TYPE_CHECKING:
    from sessions_server.domain import commands as c
    from sessions_server.domain.limits import Limits


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request id that has had its effect, and what the first call was answered."""

    stamp: c.RequestStamp
    answer: Answer
    time: Micros


@dataclass(slots=True)
class Slot:
    """One session in a workspace: as loaded, then as changed."""

    key: SessionKey
    session: Session | None = None
    last_sequence: Sequence = Sequence(0)
    context: Context | None = None
    messages: dict[str, Message] = field(default_factory=dict)
    """Messages of the history whose ids the commands name, or have brought."""
    places: dict[str, int] = field(default_factory=dict)
    """Where those stand in the history: 0 is the first that the commands add, what was stored before is below. Of a
    stored one this may be left out when nothing leaves the history for new messages."""
    added: int = 0
    """How many messages the commands have added: the place of the next one."""
    requests: dict[str, StoredRequest] = field(default_factory=dict)
    """Recorded request ids that the commands name."""

    stored: bool = False
    """Whether a row of the session stands in the store."""
    changed: bool = False
    """Whether anything is to be saved."""
    erased: bool = False
    """Whether all that is stored of the session goes, before what follows here is written."""
    context_changed: bool = False
    cleared_through: Sequence = Sequence(0)
    """Messages up to this position leave the history and lose their content."""
    hidden_through: Sequence = Sequence(0)
    """Content up to this position must not be shown to watchers any more: cleared, or of an erased session."""
    dropped_oldest: int = 0
    """How many of the oldest messages left after that leave the history as well."""
    new_requests: list[StoredRequest] = field(default_factory=list)
    log: list[Event] = field(default_factory=list)
    """The events to be stored."""
    published: list[Event] = field(default_factory=list)
    """The events to be shown to watchers: those of an erased session too, which are not stored."""


class Published(NamedTuple):
    """What watchers of a session are to learn once the transaction is durable."""

    key: SessionKey
    events: list[Event]
    head: Sequence
    """The log's new head."""
    erased_through: Sequence
    """Content up to this position must not be shown any more."""


@dataclass(slots=True)
class Workspace:
    now: Micros
    limits: Limits
    slots: dict[SessionKey, Slot]
    busy: frozenset[SessionKey] = frozenset()
    """Sessions that another transaction has, so that they have no slot here."""

    def apply(self, command: c.Command) -> Answer:
        """Applies one command. Answers as the first call with the same request id was answered. Raises DomainError."""
        slot = self.slots[command.key]
        stamp = command.request
        if (
            stamp is not None
            and (first := slot.requests.get(stamp.id)) is not None
            and (first.stamp.method == Delete.METHOD or not self._is_over(slot))
        ):
            return _replayed(first, stamp)
        self._lapse(slot)
        facts = Facts(self.now, self.limits, slot.session, slot.last_sequence, slot.context, slot.messages)
        decision = decide(facts, command)
        self._take(slot, decision)
        if stamp is not None:
            slot.requests[stamp.id] = request = StoredRequest(stamp, decision.answer, self.now)
            slot.new_requests.append(request)
            slot.changed = True
        return decision.answer

    def _is_over(self, slot: Slot) -> bool:
        """Whether the session is to be treated as erased, and with it what it has answered."""
        return slot.session is not None and view(slot.session, self.now) is None

    def _lapse(self, slot: Slot) -> None:
        if slot.session is None:
            return
        lapsed = lapse(slot.session, self.now)
        if lapsed.events:
            self._take(slot, Decision(lapsed.session, lapsed.last_sequence, lapsed.events))

    def _take(self, slot: Slot, decision: Decision) -> None:
        if not decision.events:
            return
        slot.changed = True
        if decision.clears_history or decision.session is None:
            slot.hidden_through = slot.last_sequence
        if decision.clears_history:
            slot.cleared_through = slot.last_sequence
            slot.dropped_oldest = 0
            slot.messages.clear()
            slot.places.clear()
        slot.published.extend(decision.events)
        slot.log.extend(decision.events)
        slot.dropped_oldest += decision.drops_oldest
        slot.session = decision.session
        slot.last_sequence = decision.last_sequence
        if decision.context is not None:
            slot.context, slot.context_changed = decision.context, True
        for event in decision.events:
            if isinstance(event.data, Message):
                slot.messages[event.data.id] = event.data
                slot.places[event.data.id] = slot.added
                slot.added += 1
        if decision.session is None:
            _erase(slot)
        elif decision.drops_oldest:
            _forget_dropped(slot, decision.session.message_count)


def _replayed(first: StoredRequest, stamp: c.RequestStamp) -> Answer:
    if first.stamp != stamp:
        raise RequestIdReused(
            "This request_id was used for another request within the last day; send a fresh request_id.",
            first_method=first.stamp.method,
        )
    return first.answer


def _forget_dropped(slot: Slot, message_count: int) -> None:
    """What is no part of the history any more is no message that a later command could mean."""
    first = slot.added - message_count
    for message_id in [each for each, place in slot.places.items() if place < first]:
        del slot.messages[message_id], slot.places[message_id]


def _erase(slot: Slot) -> None:
    """Nothing of the session is kept but the position of its log's head, and which requests have deleted it."""
    slot.erased = True
    slot.context, slot.context_changed = None, False
    slot.cleared_through, slot.dropped_oldest = Sequence(0), 0
    slot.messages.clear()
    slot.places.clear()
    slot.requests = {id_: each for id_, each in slot.requests.items() if each.stamp.method == Delete.METHOD}
    slot.new_requests = [each for each in slot.new_requests if each.stamp.method == Delete.METHOD]
    slot.log.clear()
