"""Which JSON is a message: what is refused is named by its field, and nothing of it is repeated."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Value

from sessions_proto.v1 import commits_pb2, drafts_pb2, records_pb2, sessions_pb2 as pb
from sessions_server.domain.errors import MalformedRequest
from sessions_server.http.json_shape import check_shape
from sessions_server.http.protojson import Json, read

if TYPE_CHECKING:
    from google.protobuf.message import Message

SECRET = "s3cr3t"


def refusal(kind: type[Message], text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(MalformedRequest) as caught:
        asyncio.run(read(Json(data), kind))
    return str(caught.value)


def request(kind: type[Message], **fields: Any) -> Any:
    return kind.FromString(asyncio.run(read(Json(json.dumps(fields).encode()), kind)))


WRONG_VALUES = {
    "message": ([], "x", 1, [[]]),
    "message.id": (1, {}, [SECRET], True),
    "message.role": ({"a": SECRET}, 1.5),
    "message.payload": ("*", SECRET + "!", "é", "A A=", "A", "AAAAA", "A===", 1, {}, [SECRET]),
    "message.data": (1, SECRET, [SECRET], True),
    "message.timestamp": (
        *(1, SECRET, "", {}, "2024-01-01", "2024-01-01T00:00:00", "2024-02-30T00:00:00Z", "10000-01-01T00:00:00Z"),
        *("2024-01-01T00:00:00.-1Z", "2024-01-01T00:00:00.1234567890Z", "0001-01-01T00:00:00+01:00"),
    ),
    "message.sequence": (True, SECRET, "", "1.5", 1.5, 2**63, "9" * 5000, " 1", {}, [], "\N{ARABIC-INDIC DIGIT ONE}"),
}  # fmt: skip


@pytest.mark.parametrize("path", WRONG_VALUES)
def test_a_wrong_value_is_named_and_not_repeated(path: str) -> None:
    for value in WRONG_VALUES[path]:
        field = path.rpartition(".")[2]
        message = value if field == "message" else {field: value}
        text = refusal(pb.AddMessageRequest, json.dumps({"sessionId": "s", "message": message}))
        assert f" {path}: Must be " in text, (value, text)
        assert SECRET not in text


def test_each_kind_of_field_says_what_it_takes() -> None:
    cases = {
        '{"ifExists": "RETURN"}': "if_exists: Must be one of IF_EXISTS_FAIL, IF_EXISTS_RETURN, IF_EXISTS_REPLACE.",
        '{"ifExists": true}': "if_exists: Must be one of",
        '{"ifExists": {}}': "if_exists: Must be one of",
        '{"config": {"timeout": 3600}}': "config.timeout: Must be a string of seconds such as `3600s`.",
        '{"config": {"timeout": "1e3s"}}': "config.timeout: Must be a string of seconds",
        '{"config": {"timeout": "1.0000000001s"}}': "config.timeout: Must be a string of seconds",
        '{"storageOptions": {"encryption": "yes"}}': "storage_options.encryption: Must be true or false.",
        '{"storageOptions": {"secret": 1}}': "storage_options: An unknown field is given; known fields are persistence",
        '{"secret": 1}': "An unknown field is given; known fields are userId, metadata,",
        '{"userId": "u", "user_id": "v"}': "user_id: Must be given once",
        '{"userId": "\\ud800"}': "user_id: Must be a string of whole characters.",
        '{"userId": "u", "userId": "v"}': "An object has the same key twice",
        "[]": "It has to be an object.",
        '{"userId": }': "It is not valid JSON at line 1, column 12.",
        '{"metadata": {"a": ' + "9" * 400 + "}}": "Check that integers are within ±(2^53 - 1)",
        '{"metadata": {"a": "\\ud800"}}': "that strings hold whole characters",
        '{"metadata": {"a": ' + "[" * 3_000 + "]" * 3_000 + "}}": "that nothing nests too deeply",
    }
    for text, expected in cases.items():
        found = refusal(pb.CreateSessionRequest, text)
        assert found.startswith("The JSON is not a request of this method. "), found
        assert expected in found, (text, found)
        assert "secret" not in found
    assert "It has to be UTF-8." in refusal(pb.CreateSessionRequest, b'{"userId": "\xff"}')
    assert "states: Must be a list." in refusal(pb.ListSessionsRequest, '{"states": "SESSION_STATE_ACTIVE"}')
    assert "states[1]: Must be one of" in refusal(pb.ListSessionsRequest, '{"states": [1, null]}')
    for pair in ('"remove": true', '"increment": 1'):
        assert "changes[0]: Must have only one of set, remove, increment, append, merge." in refusal(
            pb.UpdateContextRequest, f'{{"changes": [{{"set": null, {pair}}}]}}'
        )
    assert "changes[0].increment: Must be a finite number." in refusal(
        pb.UpdateContextRequest, '{"changes": [{"increment": 1e999}]}'
    )
    assert "update_mask: Must be a string of paths in camelCase" in refusal(
        pb.UpdateSessionRequest, '{"updateMask": "storage_options.ttl"}'
    )


def test_every_spelling_of_protobufs_json_is_taken() -> None:
    spelled = {"session_id": "s", "message": {"payload": "-_8", "timestamp": "2024-01-01T01:00:00.5+01:00"}}
    message = request(pb.AddMessageRequest, **spelled).message
    assert (message.payload, message.timestamp.ToMilliseconds()) == (b"\xfb\xff", 1_704_067_200_500)
    for value in (3, "3", 3.0, "3.0"):
        assert request(pb.GetSessionRequest, atSequence=value).at_sequence == 3
    for value in ("SESSION_STATE_ACTIVE", 2):
        assert [*request(pb.ListSessionsRequest, states=[value]).states] == [2]
    assert (
        request(pb.ListSessionsRequest, userId=None, states=None, pageSize=None) == pb.ListSessionsRequest()
    )
    change = request(pb.UpdateContextRequest, changes=[{"path": "a", "set": None}]).changes[0]
    assert change.set.WhichOneof("kind") == "null_value"
    data = b"\xef\xbb\xbf" + b' {"userId": "u"} '
    assert (
        pb.CreateSessionRequest.FromString(asyncio.run(read(Json(data), pb.CreateSessionRequest))).user_id
        == "u"
    )


REQUESTS = [
    method.input_type
    for module in (pb, commits_pb2, records_pb2, drafts_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: str(kind.name))
def test_protobufs_own_json_of_every_request_is_taken(kind: Descriptor) -> None:
    filled = MessageToDict(_filled(kind))
    assert filled
    check_shape(filled, kind)


def _filled(kind: Descriptor) -> Message:
    """The message with every field; of the fields of a oneof the last."""
    message = GetMessageClass(kind)()
    for field in kind.fields:
        value = _value(field)
        if field.is_repeated:
            getattr(message, field.name).extend([value])
        elif field.message_type is None:
            setattr(message, field.name, value)
        else:
            getattr(message, field.name).CopyFrom(value)
    return message


def _value(field: FieldDescriptor) -> Any:
    kind = field.message_type
    if kind is None:
        return _SCALARS.get(field.type, 1)
    if kind.full_name == "google.protobuf.Value":
        return Value(string_value="x")
    return _filled(kind) if kind.full_name.startswith("sessions.") else GetMessageClass(kind)()


_SCALARS: dict[int, Any] = {
    FieldDescriptor.TYPE_STRING: "x",
    FieldDescriptor.TYPE_BYTES: b"x",
    FieldDescriptor.TYPE_BOOL: True,
    FieldDescriptor.TYPE_DOUBLE: 0.5,
}
