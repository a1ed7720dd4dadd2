"""What is stored of the response to a request id, and how the response to a repetition is rebuilt.

Only values that the server generated are stored: ids, sequences, times, etags and small fields of a session. The
repeated request brings its content along, and everything else is read from the log as of the stored position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sessions_server.domain.codec import message_from_json, message_json, session_from_json, session_json
from sessions_server.domain.commit import Commit, Committed, RequestStamp, Result
from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.lineage import root_of
from sessions_server.domain.models import Context, Message, MessageBody, Micros, Sequence, Session
from sessions_server.domain.operations import Append, ContextWritten, Done, Removed
from sessions_server.domain.records import RecordsDeleted, RecordWritten

if TYPE_CHECKING:
    from sessions_server.domain.facts import Facts
    from sessions_server.domain.models import Json
    from sessions_server.domain.replay import Snapshot


class Kept(NamedTuple):
    """The stored response to a request, without anything that grows with the session's state."""

    sequence: Sequence
    """The log's head after the commit."""
    results: tuple[Result, ...] = ()
    """Message bodies are not kept."""
    session: Session | None = None
    """Without metadata."""
    context: tuple[Sequence, Micros] | None = None
    """The etag and time of the context."""
    log_id: str = ""
    """Set only on a receipt, a response that has nothing but ids, positions and times of new messages: the root of the
    identity of their log. A receipt need not be erased with its session."""


class StoredRequest(NamedTuple):
    """A request id that was used."""

    stamp: RequestStamp
    time: Micros
    answer: Committed | None
    """The response to a repetition; None if its content was erased since."""
    kept: Kept | None = None
    """What to store, for a request of this transaction."""
    outlives: bool = False
    """Whether the request itself erased the session; its response is then kept at later erasures."""

    def without_answer(self) -> StoredRequest:
        """A copy for after the session was erased."""
        return self if self.outlives else self._replace(answer=None, kept=None)


_NO_BODY = MessageBody()


def keep(commit: Commit, committed: Committed, facts: Facts) -> Kept:
    """The part of a commit's response to store; `facts` are those after the commit."""
    session, context = committed.session, committed.context
    return Kept(
        facts.last_sequence,
        committed.results,
        None if session is None else session._replace(metadata={}, data_key=None),
        None if context is None else (context.revision, context.update_time),
        root_of(facts.session.log_id) if facts.session is not None and _is_receipt(commit) else "",
    )


def _is_receipt(commit: Commit) -> bool:
    """Whether the response has nothing but generated fields of new messages."""
    if commit.shows_session or commit.shows_context:
        return False
    return all(type(each) is Append and not each.draft.chosen for each in commit.operations)


def needs_past(kept: Kept, now: Snapshot) -> bool:
    """Whether the response includes something that has changed since, so that its past state must be read from the
    log."""
    session, context = now.session, now.context
    if kept.session is not None and session is not None and session.revision != kept.session.revision:
        return True
    return kept.context is not None and context is not None and context.revision != kept.context[0]


def restore(kept: Kept, commit: Commit, now: Snapshot, past: Snapshot | None) -> Committed:
    """The response to a repeated commit. `past` is the state after the original call; None if the log no longer has it,
    in which case `now` is used, or if it is not needed."""
    return Committed(
        _results(kept, commit),
        _session(kept, now, past) if commit.shows_session else None,
        _context(kept, now, past) if commit.shows_context else None,
    )


def encode_kept(kept: Kept) -> bytes:
    out: dict[str, Json] = {
        "sequence": kept.sequence,
        "results": [_result_json(each) for each in kept.results],
    }
    if kept.session is not None:
        out["session"] = session_json(kept.session)
    if kept.context is not None:
        out["context"] = list(kept.context)
    if kept.log_id:
        out["log_id"] = kept.log_id
    return dumps(out)


def decode_kept(stored: bytes) -> Kept:
    """Reads what `encode_kept` wrote, or the first release, whose entries were kept only if they contain no state."""
    raw: dict[str, Any] = loads(stored) if stored else {}
    results: list[Result] = []
    if "messages" in raw:
        results += [Message(id_, at, time, _NO_BODY) for id_, at, time in raw["messages"]]
    if "count" in raw:
        results.append(Removed(raw["count"]))
    results += [_result_from_json(*each) for each in raw.get("results", ())]
    session, context = raw.get("session"), raw.get("context")
    return Kept(
        Sequence(raw.get("sequence", 0)),
        tuple(results),
        None if session is None else session_from_json(session),
        None if context is None else (context[0], context[1]),
        raw.get("log_id", ""),
    )


def _result_json(result: Result) -> Json:
    match result:
        case Message(id_, sequence, time):
            return ["message", id_, sequence, time]
        case Removed(count, messages):
            return ["removed", count, [message_json(message) for message in messages]]
        case ContextWritten(revision):
            return ["context", revision]
        case RecordWritten(etag, kept):
            return ["record", etag, kept]
        case RecordsDeleted(count):
            return ["records", count]
        case Done():
            return ["done"]


def _result_from_json(kind: str, *values: Any) -> Result:
    match kind:
        case "message":
            id_, sequence, time = values
            return Message(id_, sequence, time, _NO_BODY)
        case "removed":
            count, messages = values
            return Removed(count, tuple(map(message_from_json, messages)))
        case "context":
            return ContextWritten(*values)
        case "record":
            return RecordWritten(*values)
        case "records":
            return RecordsDeleted(*values)
        case _:
            return Done()


def _results(kept: Kept, commit: Commit) -> tuple[Result, ...]:
    """The results, with message content taken from the repeated request."""
    return tuple(
        result._replace(body=operation.draft.body)
        if isinstance(operation, Append) and isinstance(result, Message)
        else result
        for operation, result in zip(commit.operations, kept.results, strict=False)
    )


def _session(kept: Kept, now: Snapshot, past: Snapshot | None) -> Session | None:
    first, current = kept.session, now.session
    if first is None:
        return current
    if current is None:  # this request erased the session
        return first
    if past is not None and past.session is not None:
        return first._replace(metadata=past.session.metadata)
    if current.revision == first.revision:
        return first._replace(metadata=current.metadata)
    return current


def _context(kept: Kept, now: Snapshot, past: Snapshot | None) -> Context | None:
    found = now.context
    if kept.context is not None and past is not None and (found is None or found.revision != kept.context[0]):
        found = past.context
    return found
