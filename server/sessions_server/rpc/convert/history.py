"""A page of a history as the bytes of its response.

The response contains the bytes of each Struct instead of a tree of messages that would only be serialized again: a
Struct costs several times as much as the rest of its message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.recent import Recent
from sessions_server.rpc.convert.encoded import EncodedOnce
from sessions_server.rpc.convert.recent import LARGEST_BYTES
from sessions_server.rpc.convert.responses import STRUCTS, put_message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sessions_server.domain.models import JsonObject, Message
    from sessions_server.domain.ports import HistoryPage

_PACKAGE: Final = "sessions.v1.filled_with_bytes"
_STRUCT: Final = ".google.protobuf.Struct"
_MESSAGE: Final = f".{pb.Message.DESCRIPTOR.full_name}"

_ENCODED: Final = EncodedOnce["HistoryPage"]()
"""Concurrent equal requests share a page."""

_GENERATION_BYTES: Final = 4 * 1024 * 1024

_GROWTH: Final = 3
"""The memory of a message and its encoded form relative to the latter, besides a constant."""

_MESSAGE_BYTES: Final = 350
"""The constant."""

_MESSAGES: Final = Recent[int, "tuple[Message, bytes]"](_GENERATION_BYTES)
"""The encoded form of recent messages by their identity, which they keep while the cache refers to them: the store
returns a recent message again."""


def encode_history(page: HistoryPage) -> bytes:
    """The bytes of a GetHistoryResponse."""
    encoded = _ENCODED.find(page)
    if encoded is None:
        response = _RESPONSE(messages=map(_encode, page.messages), has_more=page.has_more)
        encoded = _ENCODED.keep(page, response.SerializeToString())
    return encoded


def messages_to_encode(page: HistoryPage) -> Iterable[Message]:
    """The messages of the page that `encode_history` must encode, since it has not done so recently."""
    if _ENCODED.find(page) is not None:
        return ()
    return (message for message in page.messages if _MESSAGES.find(id(message)) is None)


def _encode(message: Message) -> bytes:
    kept = _MESSAGES.find(id(message))
    if kept is not None:
        return kept[1]
    put_message(filled := _FILLED_MESSAGE(), message, _put_bytes)
    encoded: bytes = filled.SerializeToString()
    if len(encoded) <= LARGEST_BYTES:
        _MESSAGES.keep(id(message), (message, encoded), _MESSAGE_BYTES + _GROWTH * len(encoded))
    return encoded


def _put_bytes(target: Any, field: str, value: JsonObject) -> None:
    setattr(target, field, STRUCTS.encoded(value))


def _classes() -> tuple[type[Any], type[Any]]:
    """Classes equal to GetHistoryResponse and Message on the wire, with bytes in place of each Message and Struct."""
    file = FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    for copied in (pb.Message.DESCRIPTOR, pb.GetHistoryResponse.DESCRIPTOR):
        copied.CopyToProto(message := file.message_type.add())
        for field in message.field:
            if field.type_name == _STRUCT:
                field.ClearField("type_name")
                # Optional, since an empty Struct differs from an absent one.
                field.type, field.proto3_optional = FieldDescriptorProto.TYPE_BYTES, True
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")
            elif field.type_name == _MESSAGE:
                field.ClearField("type_name")
                field.type = FieldDescriptorProto.TYPE_BYTES
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    names = pb.GetHistoryResponse.DESCRIPTOR.name, pb.Message.DESCRIPTOR.name
    response, filled = (GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in names)
    return response, filled


_RESPONSE, _FILLED_MESSAGE = _classes()
