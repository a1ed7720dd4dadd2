"""Compares what readers received with the log, promise by promise. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING

from sessions_client import Event, EventType, Message

if TYPE_CHECKING:
    from tests.faults.subscriptions.readers import Reader


@dataclass
class Verdict:
    """How often each promise was broken."""

    missing: int = 0
    """Requested events that a reader did not receive."""
    duplicates: int = 0
    out_of_order: int = 0
    unwanted: int = 0
    """Events of a type that was not requested, or from before the reader's start."""
    altered: int = 0
    """Events that differ from the log's, other than by an erasure since."""
    torn: int = 0
    """Subscriptions whose first event is not the next one after their start position."""
    lost: int = 0
    """Acknowledged writes that are not in the log as acknowledged, and gaps in the log."""

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


def judge_reader(reader: Reader, log: Sequence[Event]) -> Verdict:
    start = reader.openings[0].position
    wanted = {event.sequence: event for event in log if event.sequence > start and _asked(reader, event)}
    if log[-1].type is EventType.DELETED:
        wanted = _outlived(reader, wanted, log[-1])
    got = [event.sequence for event in reader.received]
    return Verdict(
        missing=len(wanted.keys() - set(got)),
        duplicates=len(got) - len(set(got)),
        out_of_order=sum(later < earlier for earlier, later in pairwise(got)),
        unwanted=len(set(got) - wanted.keys()),
        altered=sum(not _same(event, wanted.get(event.sequence, event)) for event in reader.received),
        torn=_torn(reader, sorted(wanted)),
    )


def judge_log(acknowledged: Sequence[tuple[EventType, str | None]], log: Sequence[Event]) -> Verdict:
    """Whether the log holds exactly what was acknowledged."""
    holes = sum(event.sequence != at for at, event in enumerate(log, start=1))
    changed = sum(
        event.type != kind or (content is not None and not event.erased and _content(event) != content)
        for event, (kind, content) in zip(log, acknowledged, strict=False)
    )
    return Verdict(lost=holes + changed + abs(len(log) - len(acknowledged)))


def total(verdicts: Iterable[Verdict]) -> Verdict:
    return sum(verdicts, Verdict())


def _asked(reader: Reader, event: Event) -> bool:
    return not reader.kinds or event.type in reader.kinds or event.type is EventType.DELETED


def _outlived(reader: Reader, wanted: dict[int, Event], deletion: Event) -> dict[int, Event]:
    """Without what the deletion erased before the reader got to it. For a reader that had no event and no stream at the
    time, also without the deletion itself: for the server the session never existed."""
    through = max(
        (event.sequence for event in reader.received if event.type is not EventType.DELETED), default=0
    )
    kept = {sequence: event for sequence, event in wanted.items() if sequence <= through}
    return kept if reader.gone and not reader.received else {**kept, deletion.sequence: deletion}


def _same(received: Event, logged: Event) -> bool:
    """Whether they are equal apart from content erased after the event was received."""
    if received.type is logged.type is EventType.DELETED:
        return received.sequence == logged.sequence
    facts = [(one.sequence, one.type, one.time, one.request_id) for one in (received, logged)]
    return facts[0] == facts[1] and (received.data == logged.data or logged.erased)


def _torn(reader: Reader, wanted: Sequence[int]) -> int:
    torn = 0
    for position, had in reader.openings:
        following = next((sequence for sequence in wanted if sequence > position), None)
        first = reader.received[had].sequence if had < len(reader.received) else None
        torn += following is not None and first != following
    return torn


def _content(event: Event) -> str | None:
    return event.data.content if isinstance(event.data, Message) else None
