"""Decides operations on a session's content: messages and context changes. Pure."""

from __future__ import annotations

from collections.abc import Sequence as Seq

from sessions_server.domain import lifecycle
from sessions_server.domain.codec import body_json
from sessions_server.domain.context import Change, Merge, Set, apply, format_path
from sessions_server.domain.decide_history import refuse_overflow, shorten_by_turns, shortened
from sessions_server.domain.errors import MessageExists, PathConflict
from sessions_server.domain.facts import Decision, Facts, event_of, require_session
from sessions_server.domain.jsonbytes import canonical
from sessions_server.domain.models import (
    ContextChange,
    EventType,
    Message,
    MessageBody,
    Sequence,
)
from sessions_server.domain.operations import Append, ChangeContext, ContextWritten, SetContext
from sessions_server.domain.sizes import check_context


def append(facts: Facts, operations: Seq[Append]) -> Decision:
    session = require_session(facts)
    lifecycle.require_content_writable(session)
    known = facts.history.by_id
    new: dict[str, Message] = {}
    results: list[Message] = []
    for offset, (draft,) in enumerate(operations):
        message = known.get(draft.id) or new.get(draft.id)
        if message is None:
            sequence = Sequence(facts.last_sequence + len(new) + 1)
            message = new[draft.id] = Message(draft.id, sequence, facts.now, draft.body)
        elif _content(message.body) != _content(draft.body):
            error = MessageExists(
                "A message with this id and other content exists; give the new message another id."
            )
            error.offset = offset
            raise error
        results.append(message)
    if not new:
        return Decision(results=tuple(results))
    refuse_overflow(session, len(new))
    events = tuple(
        [
            event_of(facts, EventType.MESSAGE, message, offset=offset)
            for offset, message in enumerate(new.values(), 1)
        ]
    )
    decision = Decision(events, tuple(results), shortened(session, facts.history.added(new)))
    shortening = shorten_by_turns(facts.after(decision)) if session.config.max_messages else None
    if shortening is None:
        return decision
    return decision._replace(events=(*events, *shortening.events), history=shortening.history)


def _content(body: MessageBody) -> bytes:
    """Equal for messages with the same content. Values are compared with their types, since true is not 1, and times
    with the precision that clients keep."""
    claimed = body.timestamp
    exact = None if claimed is None else claimed._replace(nanos=claimed.nanos // 1_000 * 1_000)
    said = body._replace(metadata=body.metadata or None, timestamp=exact, payload=b"")
    return canonical(body_json(said)) + body.payload


def write_context(facts: Facts, operations: Seq[SetContext | ChangeContext]) -> Decision:
    session = require_session(facts)
    lifecycle.require_content_writable(session)
    data = {} if facts.context is None else facts.context.data
    changes: list[Change] = []
    for offset, operation in enumerate(operations):
        some = _changes(operation)
        try:
            data = apply(data, some)
        except PathConflict as error:
            error.offset = offset
            raise
        # SetContext replaces everything, so earlier changes in the same run need not be logged.
        changes = [*some] if isinstance(operation, SetContext) else [*changes, *some]
    check_context(
        data, facts.limits, field="context" if isinstance(operations[-1], SetContext) else "changes"
    )
    paths = tuple(path for change in changes for path in _changed_paths(change))
    event = event_of(facts, EventType.CONTEXT_CHANGE, ContextChange(paths, tuple(changes)))
    result = ContextWritten(event.sequence)
    forgets = any(operation.forget_past for operation in operations)
    return Decision((event,), (result,) * len(operations), forgets_past=forgets)


def _changes(operation: SetContext | ChangeContext) -> tuple[Change, ...]:
    if isinstance(operation, SetContext):
        return (Change("", (), Set(operation.data)),)
    return operation.changes


def _changed_paths(change: Change) -> tuple[str, ...]:
    """The paths that a change touches; a merge has one for each key."""
    if isinstance(change.operation, Merge):
        return tuple(format_path((*change.path, key)) for key in change.operation.values)
    return (change.text,)
