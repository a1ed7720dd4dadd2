"""Every field of the wire is converted. The fields come from the descriptors, so that a new one is not forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.struct_pb2 import Value

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.commands import Base, Verb
from sessions_server.domain.context import MISSING
from sessions_server.domain.errors import DomainError
from sessions_server.domain.models import (
    ContextChange,
    Created,
    Deleted,
    Event,
    EventData,
    EventType,
    HistoryCleared,
    Imported,
    Sequence,
    SessionKey,
    State,
    StateChange,
    StateReason,
    Updated,
)
from sessions_server.domain.transfer import ContextRecord, Footer, Header, MessagesRecord, Record
from sessions_server.rpc.convert import content, lists, sessions
from sessions_server.rpc.convert.common import read_named
from sessions_server.rpc.convert.events import encode_event
from sessions_server.rpc.convert.records import put_record
from sessions_server.rpc.convert.responses import put_context, put_context_part, put_message, put_session
from tests.unit import not_yet
from tests.unit.rpc.build import (
    LIMITS,
    T0,
    TENANT,
    full_config,
    full_context,
    full_message,
    full_session,
    full_storage,
    full_wire_message,
    struct,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message as WireMessage


def fields(message: WireMessage) -> Iterator[Any]:
    """The fields that are converted."""
    waiting = not_yet.FIELDS.get(message.DESCRIPTOR.name, set())
    return (field for field in message.DESCRIPTOR.fields if field.name not in waiting)


def leaf(field: Any) -> bool:
    """Scalars, and messages that are one value to us: times, spans, JSON."""
    return field.message_type is None or field.message_type.file.package == "google.protobuf"


def unset(message: WireMessage, prefix: str = "") -> Iterator[str]:
    """The paths of the fields that have no value, of a oneof only if none has."""
    present = {field.name: value for field, value in message.ListFields()}
    for field in fields(message):
        path = f"{prefix}{field.name}"
        oneof = field.containing_oneof
        if field.name not in present:
            if oneof is None or message.WhichOneof(oneof.name) is None:
                yield path
        elif not leaf(field):
            parts = present[field.name]
            for part in parts if field.is_repeated else [parts]:
                yield from unset(part, path + ".")


def wire_event(kind: EventType, data: EventData | None) -> pb.Event:
    event = Event(SessionKey(TENANT, "s-1"), Sequence(4), kind, T0, "r-1", data)
    return pb.SubscribeResponse.FromString(encode_event(event)).event


EVENTS: dict[EventType, EventData] = {
    EventType.CREATED: Created("u-1", State.CREATED),
    EventType.MESSAGE: full_message(),
    EventType.STATE_CHANGE: StateChange(State.EXPIRED, State.ACTIVE, StateReason.IDLE_TIMEOUT),
    EventType.CONTEXT_CHANGE: ContextChange(("a", "b.c")),
    EventType.UPDATED: Updated(("metadata",)),
    EventType.HISTORY_CLEARED: HistoryCleared(3),
    EventType.IMPORTED: Imported(2),
    EventType.DELETED: Deleted(),
}

RECORDS: list[Record] = [
    Header(1, full_session(), T0),
    ContextRecord({"a": 1}),
    MessagesRecord((full_message(),)),
    Footer(1, 3, b"\x01" * 32),
]


def test_every_field_of_a_session_is_filled() -> None:
    target = pb.Session()
    put_session(target, full_session())
    assert list(unset(target)) == []


def test_every_field_of_a_context_is_filled_but_the_value_that_nobody_asked_for() -> None:
    target = pb.Context()
    put_context(target, full_context())
    assert list(unset(target)) == ["value"]


def test_a_part_of_a_context_comes_without_the_whole() -> None:
    target = pb.Context()
    put_context_part(target, full_context(), None)
    assert list(unset(target)) == ["data"]
    assert target.value == Value(null_value=0)  # type: ignore[arg-type]  # the stub wants the enum's own type


def test_what_is_missing_in_a_context_is_absent_and_not_null() -> None:
    target = pb.Context()
    put_context_part(target, full_context(), MISSING)
    assert not target.HasField("value")


def test_every_field_of_a_message_is_filled() -> None:
    target = pb.Message()
    put_message(target, full_message())
    assert list(unset(target)) == []


@pytest.mark.parametrize("kind", EventType)
def test_every_field_of_an_event_is_filled_but_the_mark_of_erasure(kind: EventType) -> None:
    event = wire_event(kind, EVENTS[kind])
    assert list(unset(event)) == ["erased"]
    assert event.WhichOneof("data") == kind.value


def test_an_erased_event_keeps_its_type_and_has_no_data() -> None:
    event = wire_event(EventType.MESSAGE, None)
    assert event.erased
    assert event.type == pb.EVENT_TYPE_MESSAGE
    assert event.WhichOneof("data") is None


def test_an_event_is_encoded_once_for_all_its_readers() -> None:
    event = Event(SessionKey(TENANT, "s-1"), Sequence(4), EventType.MESSAGE, T0, "", full_message())
    assert encode_event(event) is encode_event(event)


def test_every_field_of_an_export_is_filled() -> None:
    kinds = set()
    for record in RECORDS:
        target = pb.ExportRecord()
        put_record(target, record)
        assert list(unset(target)) == []
        kinds.add(target.WhichOneof("record"))
    assert kinds == {field.name for field in fields(pb.ExportRecord())}


OPERATIONS: dict[str, dict[str, Any]] = {
    "set": {"set": Value(number_value=1)},
    "remove": {"remove": True},
    "increment": {"increment": 2.5},
    "append": {"append": Value(string_value="x")},
    "merge": {"merge": struct(k="v")},
}


def change_of_context(**operation: Any) -> pb.ContextChange:
    return pb.ContextChange(path="a.b", **operation)


def full_update(*paths: str) -> pb.UpdateSessionRequest:
    request = pb.UpdateSessionRequest(session_id="s-1", etag="3")
    request.session.metadata.update({"device": "web"})
    request.session.config.CopyFrom(full_config())
    request.session.storage_options.CopyFrom(full_storage())
    request.update_mask.paths.extend(paths)
    return request


FULL_CREATE = pb.CreateSessionRequest(
    user_id="u-1",
    metadata=struct(device="web"),
    config=full_config(),
    storage_options=full_storage(),
    session_id="s-1",
    if_exists=pb.IF_EXISTS_RETURN,
)
PERMANENT_CREATE = pb.CreateSessionRequest.FromString(FULL_CREATE.SerializeToString())
PERMANENT_CREATE.storage_options.persistence = pb.PERSISTENCE_PERMANENT
PERMANENT_CREATE.storage_options.expiry_action = pb.EXPIRY_ACTION_ARCHIVE
FULL_SEARCH = pb.SearchSessionsRequest(
    user_id="u-1",
    states=[pb.SESSION_STATE_ACTIVE],
    page_size=5,
    order_by="update_time",
    metadata_filter=struct(device="web"),
)
MASK = ("metadata", "config", "storage_options.ttl", "storage_options.expiry_action")
MESSAGE_IGNORED = {"sequence", "create_time"}
SESSION_IGNORED = {
    field.name
    for field in fields(pb.Session())
    if field.name not in ("metadata", "config", "storage_options")
}

# A request with every field set, who reads it, and the fields that are not to be read, because the server sets them or
# because they are handed on beside the query.
REQUESTS: list[tuple[WireMessage, Callable[..., Any], set[str]]] = [
    # What is temporary is always deleted, and permanent is the default.
    (FULL_CREATE, sessions.read_create, {"storage_options.expiry_action"}),
    (PERMANENT_CREATE, sessions.read_create, {"storage_options.persistence"}),
    (pb.GetSessionRequest(session_id="s-1"), read_named, set()),
    (pb.ExportSessionRequest(session_id="s-1"), read_named, set()),
    (
        full_update(*MASK),
        sessions.read_update,
        {f"session.{name}" for name in SESSION_IGNORED}
        | {"session.storage_options.persistence", "session.storage_options.encryption"},
    ),
    (
        pb.ListSessionsRequest(
            user_id="u-1", states=[pb.SESSION_STATE_ENDED], page_size=5, order_by="update_time desc"
        ),
        lists.read_list,
        {"page_token"},
    ),
    (FULL_SEARCH, lists.read_search, {"page_token"}),
    (pb.DeleteSessionRequest(session_id="s-1", etag="3"), sessions.read_delete, set()),
    (pb.SetContextRequest(session_id="s-1", etag="3", context=struct(a=1)), content.read_set_context, set()),
    *(
        (
            pb.UpdateContextRequest(session_id="s-1", etag="3", changes=[change_of_context(**operation)]),
            content.read_update_context,
            {f"changes.{name}" for name in OPERATIONS} - {f"changes.{kind}"},
        )
        for kind, operation in OPERATIONS.items()
    ),
    (pb.GetContextRequest(session_id="s-1", path="a.b"), content.read_get_context, set()),
    (
        pb.AddMessageRequest(session_id="s-1", message=full_wire_message()),
        content.read_add_message,
        {f"message.{name}" for name in MESSAGE_IGNORED},
    ),
    (
        pb.AddMessagesRequest(session_id="s-1", messages=[full_wire_message()]),
        content.read_add_messages,
        {f"messages.{name}" for name in MESSAGE_IGNORED},
    ),
    (
        pb.GetHistoryRequest(session_id="s-1", limit=5, before_sequence=9, after_sequence=2),
        content.read_get_history,
        set(),
    ),
    (pb.ClearHistoryRequest(session_id="s-1"), content.read_clear_history, set()),
    (
        pb.SubscribeRequest(session_id="s-1", event_types=[pb.EVENT_TYPE_MESSAGE], after_sequence=4),
        content.read_subscribe,
        set(),
    ),
    *(
        (
            request(session_id="s-1", etag="3"),
            lambda given, verb=verb, **options: sessions.read_move(given, verb=verb, **options),
            set(),
        )
        for request, verb in (
            (pb.StartSessionRequest, Verb.START),
            (pb.PauseSessionRequest, Verb.PAUSE),
            (pb.ResumeSessionRequest, Verb.RESUME),
            (pb.EndSessionRequest, Verb.END),
            (pb.ArchiveSessionRequest, Verb.ARCHIVE),
        )
    ),
]


def meaning(request: WireMessage, read: Callable[..., Any]) -> Any:
    """What a request is read as, without its stamp, which covers everything; the error if it is refused."""
    try:
        command = read(request, tenant=TENANT, limits=LIMITS)
    except DomainError as error:
        return str(error)
    return replace(command, request=None) if isinstance(command, Base) else command


def settable(message: WireMessage, prefix: str = "") -> Iterator[tuple[str, WireMessage, str]]:
    """The path of every leaf, the message that holds it, and its name there."""
    for field in fields(message):
        if leaf(field):
            yield f"{prefix}{field.name}", message, field.name
        elif field.is_repeated:
            for part in getattr(message, field.name):
                yield from settable(part, f"{prefix}{field.name}.")
        else:
            yield from settable(getattr(message, field.name), f"{prefix}{field.name}.")


@pytest.mark.parametrize(
    ("request_", "read", "ignored"),
    [pytest.param(*case, id=f"{place}-{type(case[0]).__name__}") for place, case in enumerate(REQUESTS)],
)
def test_every_field_of_a_request_makes_a_difference(
    request_: WireMessage, read: Callable[..., Any], ignored: set[str]
) -> None:
    whole = meaning(request_, read)
    assert not isinstance(whole, str), whole
    changed = type(request_).FromString(request_.SerializeToString())
    idle = set()
    for path, holder, name in settable(changed):
        before = type(holder).FromString(holder.SerializeToString())
        holder.ClearField(name)
        if meaning(changed, read) == whole:
            idle.add(path)
        holder.CopyFrom(before)
    assert idle - {"request_id"} == ignored


@pytest.mark.parametrize(
    ("request_", "read"),
    [
        pytest.param(request, read, id=f"{place}-{type(request).__name__}")
        for place, (request, read, _) in enumerate(REQUESTS)
        if "request_id" in request.DESCRIPTOR.fields_by_name
    ],
)
def test_a_stamp_tells_the_request_its_method_and_its_id_apart(
    request_: WireMessage, read: Callable[..., Any]
) -> None:
    def stamp(**changes: str) -> Any:
        changed = type(request_).FromString(request_.SerializeToString())
        for name, value in changes.items():
            setattr(changed, name, value)
        return read(changed, tenant=TENANT, limits=LIMITS).request

    assert stamp() is None
    first = stamp(request_id="r-1")
    assert (first.id, first.method) == ("r-1", type(request_).__name__.removesuffix("Request"))
    assert first == stamp(request_id="r-1")
    assert first != stamp(request_id="r-1", session_id="other")


def test_a_stamp_does_not_depend_on_the_order_in_which_maps_are_sent() -> None:
    def request(*keys: str) -> pb.SetContextRequest:
        made = pb.SetContextRequest(session_id="s-1", request_id="r-1")
        for key in keys:
            made.context.fields[key].string_value = "x"
        return pb.SetContextRequest.FromString(made.SerializeToString())

    read = content.read_set_context
    one, two = (read(request(*keys), tenant=TENANT, limits=LIMITS).request for keys in ("abc", "cba"))
    assert one == two
