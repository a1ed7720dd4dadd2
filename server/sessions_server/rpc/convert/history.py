"""A page of a history as the bytes of its response.

The response contains the bytes of each Struct instead of a tree of messages that would only be serialized again: a
Struct costs several times as much as the rest of its message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import finalize

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.rpc.convert.responses import STRUCTS, put_message

if TYPE_CHECKING:
    from google.protobuf.message import Message as Proto

    from sessions_server.domain.models import JsonObject
    from sessions_server.domain.ports import HistoryPage

_PACKAGE: Final = "sessions.v1.filled_with_bytes"
_STRUCT: Final = ".google.protobuf.Struct"
_MESSAGE: Final = f".{pb.Message.DESCRIPTOR.full_name}"

_ENCODED: Final[dict[int, bytes]] = {}
"""The encoded form of each page while the page is alive, keyed by identity: concurrent equal requests share one."""


def encode_history(page: HistoryPage) -> bytes:
    """The bytes of a GetHistoryResponse."""
    encoded = _ENCODED.get(id(page))
    if encoded is None:
        response: Any = _RESPONSE()
        for message in page.messages:
            put_message(response.messages.add(), message, _put_bytes)
        response.has_more = page.has_more
        encoded = _ENCODED[id(page)] = response.SerializeToString()
        finalize(page, _ENCODED.pop, id(page), None).atexit = False
    return encoded


def is_history_encoded(page: HistoryPage) -> bool:
    """Whether the page is already encoded, so that `encode_history` only looks it up."""
    return id(page) in _ENCODED


def _put_bytes(target: Any, field: str, value: JsonObject) -> None:
    setattr(target, field, STRUCTS.encoded(value))


def _response_class() -> type[Proto]:
    """A class equal to GetHistoryResponse on the wire, with the bytes of a Struct where its messages have one."""
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
                field.type_name = f".{_PACKAGE}.Message"
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.GetHistoryResponse"))


_RESPONSE: Final = _response_class()
