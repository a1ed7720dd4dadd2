"""Decides operations on records within a commit. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessions_server.domain.commit import is_session
from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.domain.facts import Decision, Facts, require_session
from sessions_server.domain.lifecycle import require_content_writable

if TYPE_CHECKING:
    from sessions_server.domain.records import DeleteRecord, PutRecord, RecordName


def put(facts: Facts, operation: PutRecord) -> Decision:
    _require_writable(facts, operation.name)
    records, result = facts.records.put(operation, facts.now)
    return Decision(results=(result,), records=records)


def delete(facts: Facts, operation: DeleteRecord) -> Decision:
    _require_writable(facts, operation.name)
    records, result = facts.records.delete(operation, facts.limits)
    return Decision(results=(result,), records=records)


def _require_writable(facts: Facts, name: RecordName) -> None:
    """In a commit to a session, records of any scope count as content of that session."""
    owner = name.scope.session
    if owner is not None and owner != facts.key:
        sentence = (
            "A commit writes records of its own session only; give that session's id, or another scope."
        )
        raise InvalidRequest([Violation("operations", sentence)])
    if is_session(facts.key):
        require_content_writable(require_session(facts))
