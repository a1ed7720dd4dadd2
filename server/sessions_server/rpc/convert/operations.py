"""Conversion of the operations and conditions of a commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from sessions_proto.v1 import commits_pb2 as commits_pb
from sessions_server.domain import operations as o
from sessions_server.domain.models import Sequence
from sessions_server.rpc.convert.context import read_change, read_whole
from sessions_server.rpc.convert.messages import read_draft
from sessions_server.rpc.convert.records import Names, read_delete, read_put, read_record_condition

if TYPE_CHECKING:
    from sessions_server.rpc.convert.check import Check

OF_RECORDS: Final = frozenset({"put", "delete", "record"})
"""Operations and conditions that need no session."""

_VERBS: Final[dict[int, o.Verb]] = {
    commits_pb.MOVE_START: o.Verb.START,
    commits_pb.MOVE_PAUSE: o.Verb.PAUSE,
    commits_pb.MOVE_RESUME: o.Verb.RESUME,
    commits_pb.MOVE_END: o.Verb.END,
    commits_pb.MOVE_ARCHIVE: o.Verb.ARCHIVE,
}


class _Place(NamedTuple):
    """The location of an operation in its request."""

    names: Names
    field: str

    @property
    def check(self) -> Check:
        return self.names.check


def read_operation(names: Names, field: str, given: commits_pb.Operation) -> o.Operation:
    kind = given.WhichOneof("operation")
    if kind is None:
        names.check.wrong(field, f"Must have one of {', '.join(_OPERATIONS)}.")
        return o.DeleteSession()
    return _OPERATIONS[kind](_Place(names, f"{field}.{kind}"), given)


def read_condition(names: Names, field: str, given: commits_pb.Condition) -> o.Condition:
    kind = given.WhichOneof("condition")
    check = names.check
    match kind:
        case "session_etag":
            return o.SessionEtag(given.session_etag)
        case "context_etag":
            return o.ContextEtag(given.context_etag)
        case "history_head":
            return o.HistoryHead(Sequence(check.not_negative(f"{field}.{kind}", given.history_head)))
        case "last_sequence":
            return o.LastSequence(Sequence(check.not_negative(f"{field}.{kind}", given.last_sequence)))
        case "record":
            return read_record_condition(names, f"{field}.record", given.record)
        case None:
            choices = commits_pb.Condition.DESCRIPTOR.oneofs_by_name["condition"].fields
            check.wrong(field, f"Must be one of {', '.join(choice.name for choice in choices)}.")
            return o.SessionEtag("")


def _append(place: _Place, given: commits_pb.Operation) -> o.Operation:
    return o.Append(read_draft(place.check, place.field, given.append))


def _truncate(place: _Place, given: commits_pb.Operation) -> o.Operation:
    truncate = given.truncate
    part = truncate.WhichOneof("part")
    if part is None:
        place.check.wrong(place.field, f"Must have one of {', '.join(o.Part)}.")
        return o.ClearHistory()
    amount = place.check.not_negative(f"{place.field}.{part}", getattr(truncate, part))
    return o.Truncate(o.Part(part), amount, truncate.return_removed)


def _context(place: _Place, given: commits_pb.Operation) -> o.Operation:
    return o.ChangeContext((read_change(place.check, place.field, given.context),))


def _context_data(place: _Place, given: commits_pb.Operation) -> o.Operation:
    return o.SetContext(read_whole(place.check, place.field, given.context_data))


def _metadata(place: _Place, given: commits_pb.Operation) -> o.Operation:
    metadata = place.check.json_object(place.field, given.metadata, searched=True)
    place.check.metadata_size(place.field, metadata)
    return o.MergeMetadata(metadata)


def _move(place: _Place, given: commits_pb.Operation) -> o.Operation:
    return o.Move(place.check.known(place.field, given.move, _VERBS) or o.Verb.START)


def _delete_session(place: _Place, given: commits_pb.Operation) -> o.Operation:
    if not given.delete_session:
        place.check.wrong(place.field, "Must be true, the only value; leave it out to keep the session.")
    return o.DeleteSession()


def _erase_message(place: _Place, given: commits_pb.Operation) -> o.Operation:
    return o.EraseMessage(place.check.id(place.field, given.erase_message))


_OPERATIONS: Final[dict[str, Callable[[_Place, commits_pb.Operation], o.Operation]]] = {
    "append": _append,
    "truncate": _truncate,
    "context": _context,
    "put": lambda place, given: read_put(place.names, place.field, given.put),
    "delete": lambda place, given: read_delete(place.names, place.field, given.delete),
    "metadata": _metadata,
    "delete_session": _delete_session,
    "context_data": _context_data,
    "move": _move,
    "erase_message": _erase_message,
}
