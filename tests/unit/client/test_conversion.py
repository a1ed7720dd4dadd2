"""Conversion of requests and responses."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sessions_client import (
    Append,
    Change,
    Context,
    Event,
    Increment,
    InvalidArgument,
    Merge,
    Message,
    Remove,
    Session,
    SessionConfig,
    Set,
    StorageOptions,
)
from sessions_client._changes import changes_of
from sessions_client._convert import _context, _events, _messages, _sessions
from sessions_client._drafts import DraftTexts
from sessions_client._models import NOT_GIVEN
from sessions_proto.v1 import sessions_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.message import Message as WireMessage

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def filled(message: WireMessage) -> WireMessage:
    """The message with a value in every field outside of oneofs."""
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is not None:
            continue
        target = getattr(message, field.name)
        if field.is_repeated:
            if field.message_type is None:
                target.append("x")
            else:
                filled(target.add())
            continue
        match field.message_type.full_name if field.message_type else None:
            case None:
                setattr(message, field.name, {str: "x", int: 1, bool: True, bytes: b"x"}[type(target)])
            case "google.protobuf.Struct":
                target.fields["k"].string_value = "v"
            case "google.protobuf.Timestamp":
                target.FromDatetime(NOON)
            case "google.protobuf.Duration":
                target.FromSeconds(60)
            case "google.protobuf.Value":
                target.string_value = "v"
            case _:
                filled(target)
    return message


@pytest.mark.parametrize(
    ("read", "wire", "model"),
    [
        (_sessions.read_session, pb.Session(), Session),
        (_messages.read_message, pb.Message(), Message),
        (_events.read_event, pb.Event(), Event),
    ],
)
def test_every_field_of_the_wire_arrives(read: Any, wire: WireMessage, model: Any) -> None:
    names = {field.name for field in wire.DESCRIPTOR.fields if field.containing_oneof is None}
    value, empty = read(filled(wire)), read(type(wire)())
    assert names <= {field.name for field in fields(model)}
    for name in names:
        assert getattr(value, name) != getattr(empty, name), name


def test_the_nested_fields_of_a_session_arrive() -> None:
    wire = pb.Session()
    filled(wire)
    session = _sessions.read_session(wire)
    assert session.config.timeout == session.storage_options.ttl == timedelta(minutes=1)
    assert session.config.max_messages == session.config.context_window == 1
    assert session.storage_options.encryption
    assert session.metadata == {"k": "v"}


def test_a_session_without_options_has_the_defaults() -> None:
    session = _sessions.read_session(pb.Session(id="s", user_id="u"))
    assert session.config == SessionConfig(overflow="truncate_oldest")
    assert session.storage_options == StorageOptions(expiry_action="retain")
    assert session.expire_time is None


def test_states_and_types_compare_equal_to_plain_strings() -> None:
    session = _sessions.read_session(pb.Session(state=pb.SESSION_STATE_ACTIVE))
    event = _events.read_event(pb.Event(type=pb.EVENT_TYPE_STATE_CHANGE))
    assert session.state == "active"
    assert event.type == "state_change"
    assert f"{session.state}" == "active"


def test_a_context_is_a_dict_with_an_etag() -> None:
    wire = pb.Context(etag="7")
    wire.data.fields["n"].number_value = 1
    context = _context.read_context(wire)
    assert context == {"n": 1}
    assert isinstance(context, Context)
    assert context.etag == "7"
    assert not context.has_value


def test_a_null_at_a_path_differs_from_a_missing_value() -> None:
    wire = pb.Context()
    assert not _context.read_context(wire).has_value
    wire.value.null_value = 0  # type: ignore[assignment]  # protobuf's NullValue has a single value
    context = _context.read_context(wire)
    assert context.has_value
    assert context.value is None


CREATE: dict[str, Any] = {
    "metadata": None,
    "config": None,
    "storage_options": None,
    "session_id": None,
    "if_exists": None,
    "request_id": "r",
}


def test_the_guides_create_is_understood() -> None:
    request = _sessions.create_request(
        "u1",
        **CREATE
        | {
            "metadata": {"device": "mobile"},
            "config": {"timeout": 3600, "max_messages": 100, "context_window": 10},
            "storage_options": {"persistence": "permanent", "encryption": True, "ttl": 86400},
        },
    )
    assert request.config.timeout.seconds == 3600
    assert request.config.max_messages == 100
    assert request.storage_options.persistence == pb.PERSISTENCE_PERMANENT
    assert request.storage_options.encryption
    assert request.storage_options.ttl.seconds == 86400
    assert request.metadata["device"] == "mobile"


def test_options_may_be_the_models_themselves() -> None:
    request = _sessions.create_request(
        "u1",
        **CREATE
        | {
            "config": SessionConfig(timeout=timedelta(hours=1)),
            "storage_options": StorageOptions(ttl=timedelta(days=1)),
        },
    )
    assert request.config.timeout.seconds == 3600
    assert request.storage_options.ttl.seconds == 86400


@pytest.mark.parametrize(
    ("given", "field", "allowed"),
    [
        ({"config": {"timeot": 1}}, "config.timeot", "timeout, max_messages, context_window, overflow"),
        (
            {"storage_options": {"tll": 1}},
            "storage_options.tll",
            "persistence, encryption, ttl, expiry_action",
        ),
    ],
)
def test_an_unknown_option_is_refused_with_the_known_ones(given: Any, field: str, allowed: str) -> None:
    with pytest.raises(InvalidArgument, match=allowed) as caught:
        _sessions.create_request("u1", **CREATE | given)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"config": {"timeout": "1h"}}, "config.timeout"),
        ({"config": {"max_messages": 2.5}}, "config.max_messages"),
        ({"config": {"overflow": "drop"}}, "config.overflow"),
        ({"config": [1]}, "config"),
        ({"storage_options": {"encryption": "yes"}}, "storage_options.encryption"),
        ({"storage_options": {"persistence": "forever"}}, "storage_options.persistence"),
        ({"metadata": {"a": object()}}, "metadata.a"),
        ({"if_exists": "maybe"}, "if_exists"),
        ({"session_id": 5}, "session_id"),
    ],
)
def test_an_option_of_the_wrong_kind_is_refused_by_name(given: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        _sessions.create_request("u1", **CREATE | given)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize(
    ("given", "states"),
    [
        (None, []),
        ("active", [pb.SESSION_STATE_ACTIVE]),
        (["active", "paused"], [pb.SESSION_STATE_ACTIVE, pb.SESSION_STATE_PAUSED]),
    ],
)
def test_status_takes_one_state_or_several(given: Any, states: list[int]) -> None:
    request = _sessions.list_request(
        user_id=None, status=given, page_size=None, page_token=None, order_by=None
    )
    assert list(request.states) == states


def change_request(changes: list[Change]) -> pb.UpdateContextRequest:
    return _context.update_request("s", changes=changes, forget_past=False, etag=None, request_id=None)


def test_typed_changes_and_plain_dicts_mean_the_same() -> None:
    typed: list[Change] = [
        Set("a", None),
        Remove("b"),
        Increment("c", 2),
        Append("d", {"x": 1}),
        Merge("e", {"y": []}),
    ]
    plain: list[Change] = [
        {"path": "a", "set": None},
        {"path": "b", "remove": True},
        {"path": "c", "increment": 2},
        {"path": "d", "append": {"x": 1}},
        {"path": "e", "merge": {"y": []}},
    ]
    assert change_request(typed).changes == change_request(plain).changes
    assert [change.WhichOneof("operation") for change in change_request(typed).changes] == [
        "set",
        "remove",
        "increment",
        "append",
        "merge",
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"path": "a"}, "changes[0]"),
        ({"path": "a", "set": 1, "append": 2}, "changes[0]"),
        ({"set": 1}, "changes[0].path"),
        ({"path": "a", "put": 1}, "changes[0].put"),
        ({"path": 1, "set": 1}, "changes[0].path"),
        ({"path": "a", "remove": False}, "changes[0].remove"),
        (Set("a", {"b": float("nan")}), "changes[0].set.b"),
        (Increment("a", True), "changes[0].increment"),
        ("a", "changes[0]"),
    ],
)
def test_a_meaningless_change_is_refused_by_name(change: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        change_request([change])
    assert [violation.field for violation in caught.value.violations] == [field]


def test_the_three_forms_of_an_update_become_changes() -> None:
    def forms(**given: Any) -> Any:
        return changes_of(**{"path": None, "value": NOT_GIVEN, "context": None, "changes": NOT_GIVEN} | given)

    assert forms(path="a", value=None) == [Set("a", None)]
    assert forms(context={"a": 1}) == [Merge("", {"a": 1})]
    assert forms(changes=[Remove("a")]) == [Remove("a")]
    for wrong in ({}, {"path": "a"}, {"value": 1}, {"path": "a", "value": 1, "context": {}}):
        with pytest.raises(InvalidArgument):
            forms(**wrong)


def add_message(message: Any) -> pb.Message:
    return _messages.add_request("s", message=message, request_id=None).message


def test_the_guides_message_is_understood() -> None:
    message = add_message({"role": "user", "content": "Hello", "timestamp": "2024-01-01T12:00:00Z"})
    assert _messages.read_message(message) == Message(role="user", content="Hello", timestamp=NOON)


def test_a_message_that_was_read_can_be_added_elsewhere() -> None:
    read = Message(id="m", sequence=9, role="user", data={"parts": [1]}, timestamp=NOON, create_time=NOON)
    assert _messages.read_message(add_message(read)) == Message(
        id="m", role="user", data={"parts": [1]}, timestamp=NOON
    )


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "user", "text": "x"}, "message.text"),
        ({"role": 1}, "message.role"),
        ({"content": ["x"]}, "message.content"),
        ({"timestamp": "now"}, "message.timestamp"),
        ({"data": [1]}, "message.data"),
        ({"metadata": {"n": 2**60}}, "message.metadata.n"),
        ("hello", "message"),
    ],
)
def test_a_meaningless_message_is_refused_by_name(message: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        add_message(message)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_an_empty_data_is_data_however_it_is_given() -> None:
    parts = _messages.one_message(None, {"role": "user", "data": {}})
    for message in (Message(role="user", data={}), {"role": "user", "data": {}}, parts):
        assert add_message(message).HasField("data")
    assert not add_message(Message(role="user")).HasField("data")


def test_a_message_is_given_whole_or_in_parts_but_not_both() -> None:
    assert _messages.one_message(None, {"role": "user", "name": None}) == {"role": "user"}
    with pytest.raises(InvalidArgument, match="put role into it"):
        _messages.one_message({"content": "x"}, {"role": "user"})


def test_the_data_of_each_event_is_of_its_own_type() -> None:
    kinds = {
        "created": (pb.EVENT_TYPE_CREATED, "CreatedData"),
        "message": (pb.EVENT_TYPE_MESSAGE, "Message"),
        "state_change": (pb.EVENT_TYPE_STATE_CHANGE, "StateChangeData"),
        "context_change": (pb.EVENT_TYPE_CONTEXT_CHANGE, "ContextChangeData"),
        "updated": (pb.EVENT_TYPE_UPDATED, "UpdatedData"),
        "history_cleared": (pb.EVENT_TYPE_HISTORY_CLEARED, "HistoryClearedData"),
        "imported": (pb.EVENT_TYPE_IMPORTED, "ImportedData"),
        "deleted": (pb.EVENT_TYPE_DELETED, "DeletedData"),
        "history_truncated": (pb.EVENT_TYPE_HISTORY_TRUNCATED, "HistoryTruncatedData"),
        "records_change": (pb.EVENT_TYPE_RECORDS_CHANGE, "RecordsChangeData"),
        "message_erased": (pb.EVENT_TYPE_MESSAGE_ERASED, "MessageErasedData"),
    }
    for name, (number, expected) in kinds.items():
        wire = pb.Event(type=number)
        data = filled(getattr(wire, name))
        data.SetInParent()
        event = _events.read_event(wire)
        assert (event.type, type(event.data).__name__) == (name, expected)
        assert {field.name for field in data.DESCRIPTOR.fields} <= set(getattr(event.data, "__slots__", ()))


def test_the_data_of_an_erased_message_has_no_content() -> None:
    event = _events.read_event(pb.Event(type=pb.EVENT_TYPE_MESSAGE, erased=True))
    assert event.erased
    assert isinstance(event.data, Message)
    assert event.data.content == ""


def test_an_event_of_a_later_version_is_unknown_and_without_data() -> None:
    wire = pb.Event.FromString(pb.Event(sequence=3).SerializeToString() + b"\x18\x63")
    event = _events.read_event(wire)
    assert (event.sequence, event.type, event.data) == (3, "unknown", None)


def test_a_response_of_a_later_version_is_not_an_event() -> None:
    assert _events.read_response(pb.SubscribeResponse(), "s", DraftTexts()) is None
