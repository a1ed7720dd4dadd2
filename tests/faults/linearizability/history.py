"""What many callers did to one session and saw, and whether some sequential execution explains it.

Every call has the log position at which it took effect, so the order need not be searched for: the checker takes the
order that the server claims, and compares it with the effect and result of each call, and with the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple


class State(NamedTuple):
    """Everything visible of a session."""

    context: dict[str, Any]
    metadata: dict[str, Any]
    history: tuple[str, ...]
    records: dict[str, bytes]


EMPTY = State({}, {}, (), {})


@dataclass(frozen=True)
class Write:
    """A commit: what it did, the resulting state, and its position."""

    began: int
    ended: int
    steps: tuple[tuple[str, Any, Any], ...]
    position: int
    state: State


@dataclass(frozen=True)
class Look:
    """A read of the whole state, or a refused write, which changed nothing. A refusal has only the position."""

    began: int
    ended: int
    position: int
    state: State | None


@dataclass(frozen=True)
class LookBack:
    """A read of the state after an earlier event, or a fork of it. Messages erased since are left out."""

    position: int
    state: State


Call = Write | Look


@dataclass
class History:
    """All calls on one session."""

    calls: list[Call] = field(default_factory=list)
    looks_back: list[LookBack] = field(default_factory=list)


def apply(state: State, steps: Iterable[tuple[str, Any, Any]]) -> tuple[State, int]:
    """The state after a commit, and how many events it takes."""
    events = 0
    context, metadata, records, history = (
        dict(state.context),
        dict(state.metadata),
        dict(state.records),
        list(state.history),
    )
    kinds: set[str] = set()
    touched: set[str] = set()
    for kind, key, value in steps:
        match kind:
            case "append":
                history.append(key)
                events += 1
            case "truncate":
                events += bool(history and key)
                del history[max(len(history) - key, 0) :]
            case "increment":
                context[key] = context.get(key, 0) + value
                kinds.add("context")
            case "metadata":
                metadata[key] = value
                kinds.add("metadata")
            case "put":
                records[key] = value
                touched.add(key)
            case "delete":
                records.pop(key, None)
                touched.add(key)
            case "shared":  # a record that belongs to no session
                kinds.add("records")
    if any(key in state.records or key in records for key in touched):
        kinds.add("records")
    return State(context, metadata, tuple(history), records), events + len(kinds)


def faults_of(history: History, *, first: int) -> list[str]:
    """The inconsistencies; empty if a sequential execution explains everything. `first` is the position after the
    session's creation."""
    writes = sorted((call for call in history.calls if isinstance(call, Write)), key=_position)
    states = {first: EMPTY}
    faults, position, state = [], first, EMPTY
    for _, group in groupby(writes, key=_position):
        for write in _in_order(position, state, list(group)):
            state, events = apply(state, write.steps)
            position += events
            if (position, state) != (write.position, write.state):
                return [f"a write left {write.state} at {write.position}, not {state} at {position}"]
            states[position] = state
    looks = (call for call in history.calls if isinstance(call, Look))
    faults += [
        f"a read saw {look.state} at {look.position}, not {states.get(look.position)}"
        for look in looks
        if look.state not in (None, states.get(look.position))
    ]
    return [*faults, *_faults_of_time(history.calls), *_faults_of_the_past(history.looks_back, states)]


def _position(call: Call) -> int:
    return call.position


def _in_order(position: int, state: State, writes: list[Write]) -> list[Write]:
    """Of the writes at one position the one that led there comes first; the others found nothing to change."""

    def leads_elsewhere(write: Write) -> bool:
        after, events = apply(state, write.steps)
        return (position + events, after) != (write.position, write.state)

    return sorted(writes, key=leads_elsewhere)


def _faults_of_time(calls: list[Call]) -> list[str]:
    """Checks real-time order: no call has a lower position than one that ended before it began."""
    faults = []
    ended = sorted(calls, key=lambda call: call.ended)
    latest, place = 0, 0
    for call in sorted(calls, key=lambda call: call.began):
        while place < len(ended) and ended[place].ended < call.began:
            latest = max(latest, ended[place].position)
            place += 1
        if call.position < latest:
            faults.append(f"a call at {call.position} began after one at {latest} had ended")
    return faults


def _faults_of_the_past(looks: list[LookBack], states: dict[int, State]) -> list[str]:
    faults = []
    for look in looks:
        was = states.get(look.position)
        if was is None:
            continue  # in the middle of a commit
        left = [text for text in was.history if text in look.state.history]
        # Records have no history.
        same = (was.context, was.metadata) == (look.state.context, look.state.metadata)
        if not same or list(look.state.history) != left:
            faults.append(f"a look back saw {look.state} at {look.position}, not {was}")
    return faults
