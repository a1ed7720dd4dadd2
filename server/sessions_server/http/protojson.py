"""JSON of requests and responses, as every protobuf library reads and writes it.

Large ones are converted in a thread, and how many values JSON may have is bounded before it is parsed: 4 MB of small
numbers would otherwise hold everyone up for many seconds.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

import orjson
from google.protobuf.json_format import MessageToDict, Parse, ParseError

from sessions_server.domain.errors import LimitExceeded, MalformedRequest

if TYPE_CHECKING:
    from google.protobuf.message import Message

VALUES: Final = 100_000
"""How many values a request may have as JSON."""

IN_LOOP_BYTES: Final = 8 * 1024
"""JSON of up to this size is converted at once: a hop to a thread would cost more."""

_HINT_CHARACTERS: Final = 300
_SAFE: Final = 2**53 - 1
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


class Json(bytes):
    """A message as JSON; plain bytes are a message as protobuf."""


async def read(data: bytes, kind: type[Message]) -> bytes:
    """The request as protobuf. Raises LimitExceeded, MalformedRequest."""
    if not isinstance(data, Json):
        return data
    if len(data) <= IN_LOOP_BYTES:
        return _parsed(data, kind)
    return await asyncio.to_thread(_parsed, data, kind)


async def write(response: bytes, kind: type[Message], like: bytes) -> bytes:
    """The response in the format of the request."""
    if not isinstance(like, Json):
        return response
    return await to_json(response, kind)


async def to_json(response: bytes, kind: type[Message]) -> bytes:
    if len(response) <= IN_LOOP_BYTES:
        return shown(kind.FromString(response))
    return await asyncio.to_thread(lambda: shown(kind.FromString(response)))


def shown(message: Message) -> bytes:
    return dumped(_integral(MessageToDict(message)))


def _integral(value: Any) -> Any:
    """The same with 1 in place of 1.0, which is how numbers of a Struct were written by their callers."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _SAFE else value
    if isinstance(value, dict):
        return {key: _integral(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_integral(each) for each in value]
    return value


def _parsed(data: bytes, kind: type[Message]) -> bytes:
    _check_values(data)
    # Without a body every field has its default, so that `curl -X POST` works where nothing has to be said.
    text = data.strip() or b"{}"
    try:
        if not text.startswith(b"{"):  # an empty list would pass as an empty object
            raise ParseError("it has to be an object.")
        return Parse(text, kind(), max_recursion_depth=100).SerializeToString()
    except (ParseError, ValueError, RecursionError) as error:
        hint = str(error)[:_HINT_CHARACTERS]
        raise MalformedRequest(f"The JSON is not a request of this method: {hint}") from None


def _check_values(data: bytes) -> None:
    """Raises LimitExceeded when there are too many values; what is inside of strings does not count."""
    if _separators(data) > VALUES and _separators(_STRING.sub(b"", data)) > VALUES:
        raise LimitExceeded(
            f"A request has at most {VALUES} values as JSON; send it as protobuf, or split it into several.",
            field="request",
        )


def _separators(data: bytes) -> int:
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def dumped(value: object) -> bytes:
    """Plain JSON on one line."""
    return orjson.dumps(value)
