"""Evaluates the conditions of a commit. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from sessions_server.domain import operations as o
from sessions_server.domain.errors import EtagMismatch
from sessions_server.domain.facts import Facts, require_session
from sessions_server.domain.records import RecordIs, RecordState

if TYPE_CHECKING:
    from sessions_server.domain.models import Sequence


def judge(facts: Facts, condition: o.Condition) -> None:
    """Raises EtagMismatch, with the current value, if the condition does not hold."""
    _JUDGES[type(condition)](facts, condition)


def _record_is(facts: Facts, condition: RecordIs) -> None:
    current = facts.records.refuses(condition)
    if current is None:
        return
    text = ""
    if condition.state is RecordState.ABSENT:
        text = "The record exists; read it and decide again, or choose another key."
    elif not current:
        text = "There is no such record; write it first, or on the condition that it is absent."
    raise EtagMismatch(current or None, text=text)


def _session_etag(facts: Facts, condition: o.SessionEtag) -> None:
    _match_etag(condition.etag, require_session(facts).revision)


def _context_etag(facts: Facts, condition: o.ContextEtag) -> None:
    require_session(facts)
    _match_etag(condition.etag, facts.context.revision if facts.context is not None else 0)


def _match_etag(etag: str, revision: int) -> None:
    if etag != str(revision):
        raise EtagMismatch(str(revision))


def _history_head(facts: Facts, condition: o.HistoryHead) -> None:
    _match_sequence(condition.sequence, require_session(facts).history_head)


def _last_sequence(facts: Facts, condition: o.LastSequence) -> None:
    _match_sequence(condition.sequence, require_session(facts).last_sequence)


def _match_sequence(wanted: Sequence, current: Sequence) -> None:
    if wanted != current:
        raise EtagMismatch(current_sequence=str(current))


_JUDGES: Final[dict[type, Callable[[Facts, Any], None]]] = {
    o.SessionEtag: _session_etag,
    o.ContextEtag: _context_etag,
    o.HistoryHead: _history_head,
    o.LastSequence: _last_sequence,
    RecordIs: _record_is,
}
