"""Decides what a commit does: its events and the facts after them. Pure.

`decide` turns facts into an `Outcome`, or raises a DomainError and has no effect. Operations are decided one after
another, each on the facts left by those before it; runs of similar operations are decided together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence as Seq
from itertools import groupby
from typing import Any, Final, NamedTuple, TypeAlias

from sessions_server.domain import (
    decide_content as content,
    decide_history as history,
    decide_import as imports,
    decide_records as of_records,
    decide_session as of_session,
    operations as o,
)
from sessions_server.domain.commit import Commit, Committed, Result, is_session
from sessions_server.domain.conditions import judge
from sessions_server.domain.errors import DomainError, EtagMismatch
from sessions_server.domain.facts import Decision, Facts, event_of, require_session
from sessions_server.domain.models import Event, EventType, RecordsChange
from sessions_server.domain.records import DeleteRecord, PutRecord

Decider: TypeAlias = Callable[[Facts, Any], Decision]


class Outcome(NamedTuple):
    """The effect of a commit."""

    facts: Facts
    """The facts after the commit."""
    events: tuple[Event, ...]
    committed: Committed
    forgets_past: bool
    """Whether the context's values before the commit are erased from the log."""


def decide(facts: Facts, commit: Commit) -> Outcome:
    """The effect of `commit`. Raises the DomainError that refuses it."""
    return _Draft(facts, commit).decide()


class _Draft:
    """A commit while it is being decided."""

    def __init__(self, facts: Facts, commit: Commit) -> None:
        self._commit = commit
        self._facts = facts
        self._events: list[Event] = []
        self._results: list[Result] = []
        self._forgets_past = False
        self._last = facts.session
        """The last state of the session, even if it has been erased."""

    def decide(self) -> Outcome:
        commit = self._commit
        if commit.create is not None:
            self._take(of_session.create(self._facts, commit.create))
        if not commit.operations and is_session(commit.key):
            require_session(self._facts)
        for index, condition in enumerate(commit.conditions):
            try:
                judge(self._facts, condition)
            except EtagMismatch as error:
                if commit.numbers_errors:
                    error.metadata["condition"] = str(index)
                raise
        if commit.operations:
            self._apply()
        self._settle_records()
        return Outcome(self._facts, tuple(self._events), self._committed(), self._forgets_past)

    def _apply(self) -> None:
        index = 0
        for decider, operations in _runs(self._commit.operations):
            together = decider in _RUNS
            for some in [operations] if together else operations:
                try:
                    self._decide(decider, some)
                except DomainError as error:
                    if self._commit.numbers_errors:
                        error.metadata["operation"] = str(index + error.offset)
                    raise
                index += len(operations) if together else 1

    def _decide(self, decider: Decider, what: Any) -> None:
        if decider is of_session.delete:
            self._settle_records()  # while the session still has a log for the event
        self._take(decider(self._facts, what))

    def _take(self, decision: Decision) -> None:
        self._facts = self._facts.after(decision)
        self._events += decision.events
        self._results += decision.results
        self._forgets_past |= decision.forgets_past
        self._last = decision.shown or self._facts.session or self._last

    def _settle_records(self) -> None:
        """Records all changes of records by the commit in one event, if there is a session to log it in."""
        facts = self._facts
        if not facts.records.commit or not (changes := facts.records.changes):
            return
        events: tuple[Event, ...] = ()
        if facts.session is not None:
            events = (event_of(facts, EventType.RECORDS_CHANGE, RecordsChange(changes)),)
        self._take(Decision(events, records=facts.records.after_commit()))

    def _committed(self) -> Committed:
        commit, snapshot = self._commit, self._facts.snapshot
        return Committed(
            tuple(self._results),
            self._last if commit.shows_session else None,
            snapshot.context if commit.shows_context else None,
        )


def _runs(operations: tuple[o.Operation, ...]) -> Iterable[tuple[Decider, Seq[o.Operation]]]:
    """The operations, with consecutive ones that share a decider grouped into runs."""
    if len(operations) == 1:
        return ((_decider(operations[0]), operations),)
    return ((decider, list(run)) for decider, run in groupby(operations, key=_decider))


def _decider(operation: o.Operation) -> Decider:
    return _DECIDERS[type(operation)]


_DECIDERS: Final[dict[type, Decider]] = {
    o.Append: content.append,
    o.SetContext: content.write_context,
    o.ChangeContext: content.write_context,
    o.Truncate: history.truncate,
    o.ClearHistory: history.clear,
    o.EraseMessage: history.erase,
    o.Update: of_session.update,
    o.MergeMetadata: of_session.merge_metadata,
    o.Move: of_session.move,
    o.DeleteSession: of_session.delete,
    o.Expire: of_session.expire,
    o.ImportSession: imports.import_session,
    o.ImportMessages: imports.import_messages,
    o.ImportRecords: imports.import_records,
    PutRecord: of_records.put,
    DeleteRecord: of_records.delete,
}

_RUNS: Final = frozenset({content.append, content.write_context})
"""Deciders that take a whole run of operations at once."""
