"""Compares acknowledged writes, logs and what readers received. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from sessions_client import Event, Message

if TYPE_CHECKING:
    from tests.faults.replicas.storm import Outcome, Reader


@dataclass
class Verdict:
    """How often each promise was broken."""

    lost: int = 0
    """Acknowledged writes that are not at the returned position in the log."""
    duplicates: int = 0
    """Events in addition to the acknowledged ones, and increments that the context counted more than once."""
    holes: int = 0
    missing: int = 0
    """Events that a reader did not receive, or that differ from the log."""
    repeated: int = 0
    """Events that a reader received again, or after a later one."""


def judge(outcome: Outcome) -> Verdict:
    verdict = Verdict()
    places = {
        (session_id, event.sequence): _content(event)
        for session_id, log in outcome.logs.items()
        for event in log
        if event.type in ("message", "context_change")
    }
    for session_id, log in outcome.logs.items():
        verdict.holes += sum(event.sequence != at for at, event in enumerate(log, start=1))
        increments = sum(event.type == "context_change" for event in log)
        verdict.lost += max(increments - outcome.counters[session_id], 0)
        verdict.duplicates += max(outcome.counters[session_id] - increments, 0)
    for session_id, sequence, content in outcome.acknowledged:
        verdict.lost += places.get((session_id, sequence)) != content
    verdict.duplicates += max(len(places) - len(outcome.acknowledged), 0)
    contents = Counter(content for content in places.values() if content)
    verdict.duplicates += sum(count - 1 for count in contents.values())
    for reader in outcome.readers:
        _judge_reader(verdict, reader, outcome.logs[reader.session_id])
    return verdict


def _judge_reader(verdict: Verdict, reader: Reader, log: list[Event]) -> None:
    logged = {event.sequence: event for event in log}
    received = {event.sequence: event for event in reader.received}
    verdict.missing += sum(received.get(sequence) != event for sequence, event in logged.items())
    sequences = [event.sequence for event in reader.received]
    verdict.repeated += sum(later <= earlier for earlier, later in pairwise(sequences))


def _content(event: Event) -> str:
    return event.data.content if isinstance(event.data, Message) else ""
