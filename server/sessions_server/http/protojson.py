"""JSON of requests and responses, in protobuf's standard mapping.

Large messages are converted in a thread, and the number of JSON values is bounded before parsing: 4 MB of small numbers
would otherwise block the event loop for many seconds.
"""

from __future__ import annotations

import asyncio
import codecs
import functools
import json
import re
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.struct_pb2 import Struct

from sessions_server.domain.errors import LimitExceeded, MalformedRequest
from sessions_server.http.json_shape import WrongShape, check_shape

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

VALUES: Final = 100_000
"""The maximum number of JSON values in a request."""

IN_LOOP_BYTES: Final = 8 * 1024
"""JSON up to this size is converted in the event loop, since a thread hop would cost more."""

_SAFE: Final = 2**53 - 1
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


class Json(bytes):
    """A message as JSON; plain `bytes` hold protobuf."""


async def read(data: bytes, kind: type[Message]) -> bytes:
    """Returns the request as protobuf. Raises LimitExceeded, MalformedRequest."""
    if not isinstance(data, Json):
        return data
    if len(data) <= IN_LOOP_BYTES:
        return _parsed(data, kind)
    return await asyncio.to_thread(_parsed, data, kind)


async def write(response: bytes, kind: type[Message], like: bytes) -> bytes:
    """Returns the response in the format of the request."""
    if not isinstance(like, Json):
        return response
    return await to_json(response, kind)


async def to_json(response: bytes, kind: type[Message]) -> bytes:
    if len(response) <= IN_LOOP_BYTES:
        return shown(kind.FromString(response))
    return await asyncio.to_thread(lambda: shown(kind.FromString(response)))


def shown(message: Message) -> bytes:
    return dumped(_fields(MessageToDict(message), cast("Descriptor", message.DESCRIPTOR)))


def _fields(value: Any, kind: Descriptor) -> Any:
    """The JSON of a message, with the fields as they come and Structs in one order."""
    if kind.file is Struct.DESCRIPTOR.file:
        return _plain(value)
    if not isinstance(value, dict):  # a Timestamp, a Duration
        return value
    kinds = _kinds_of(kind)
    return {name: _field(each, kinds.get(name)) for name, each in value.items()}


def _field(value: Any, kind: Descriptor | None) -> Any:
    if kind is None:
        return _plain(value)
    return [_fields(each, kind) for each in value] if isinstance(value, list) else _fields(value, kind)


@functools.cache
def _kinds_of(kind: Descriptor) -> dict[str, Descriptor]:
    """The messages in the fields of a message, by the names that they have in JSON. Maps are left out."""
    return {
        field.json_name: field.message_type
        for field in kind.fields
        if field.message_type is not None and not field.message_type.GetOptions().map_entry
    }


def _plain(value: Any) -> Any:
    """The same JSON with 1 instead of 1.0, as callers wrote the numbers of a Struct, and with its keys in alphabetical
    order: protobuf's order differs between processes."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _SAFE else value
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _parsed(data: bytes, kind: type[Message]) -> bytes:
    _check_values(data)
    try:
        value = _loaded(data)
        check_shape(value, cast("Descriptor", kind.DESCRIPTOR))
        return ParseDict(value, kind(), max_recursion_depth=100).SerializeToString()
    except WrongShape as error:
        raise MalformedRequest(f"The JSON is not a request of this method. {error}") from None
    except (ParseError, ValueError, OverflowError, RecursionError):
        # Only values inside Structs are left. Protobuf's own text is not passed on: it quotes the request.
        raise MalformedRequest(
            "The JSON is not a request of this method. Check that integers are within ±(2^53 - 1), that strings hold "
            "whole characters, and that nothing nests too deeply."
        ) from None


def _loaded(data: bytes) -> dict[str, Any]:
    """The JSON object. Raises WrongShape, ValueError, RecursionError."""
    # No body means all defaults, so that a bare `curl -X POST` works.
    text = data.removeprefix(codecs.BOM_UTF8).strip() or b"{}"
    try:
        value = json.loads(text.decode(), object_pairs_hook=_object)
    except UnicodeDecodeError:
        raise WrongShape("It has to be UTF-8.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise WrongShape(f"It is not valid JSON at {place}.") from None
    if not isinstance(value, dict):
        raise WrongShape("It has to be an object.")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise WrongShape("An object has the same key twice; leave one out.")
    return value


def _check_values(data: bytes) -> None:
    """Raises LimitExceeded if there are too many values. Characters inside strings do not count."""
    if _separators(data) > VALUES and _separators(_STRING.sub(b"", data)) > VALUES:
        raise LimitExceeded(
            f"A request has at most {VALUES:,} values as JSON; send it as protobuf, or split it into several.",
            field="request",
        )


def _separators(data: bytes) -> int:
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def dumped(value: object) -> bytes:
    """Compact JSON on one line."""
    return orjson.dumps(value)
