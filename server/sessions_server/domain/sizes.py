"""Size limits of metadata and contexts, checked on the value to be stored, and the capacity of pages and responses.

JSON grows on the wire: as a Struct, a one-digit number takes 11 bytes instead of 2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from types import NoneType
from typing import TYPE_CHECKING, Final

from sessions_server.domain.context import measure
from sessions_server.domain.errors import InvalidRequest, LimitExceeded, Violation
from sessions_server.domain.jsonbytes import dumps
from sessions_server.domain.limits import MAX_DEPTH, Limits

if TYPE_CHECKING:
    from sessions_server.domain.models import Json, JsonObject, MessageBody

_SIZES: Final[dict[type, int]] = {int: 9, float: 9, bool: 2, NoneType: 2}
"""The sizes of values without content of their own."""

_MANY: Final = 16
"""Lists of this many items or more are counted by kind."""

GROWTH: Final = 6
"""The maximum size of a Struct relative to its JSON."""


def check_metadata(metadata: JsonObject, limits: Limits) -> None:
    """Raises LimitExceeded."""
    if measure(metadata)[0] > limits.metadata_keys or len(dumps(metadata)) > limits.metadata_bytes:
        raise LimitExceeded(
            f"Metadata holds at most {limits.metadata_keys:,} keys and {limits.metadata_bytes:,} bytes of JSON; "
            "remove some of it, or keep it in the context.",
            field="metadata",
        )


def check_context(data: JsonObject, limits: Limits, *, field: str = "context") -> None:
    """Raises InvalidRequest, LimitExceeded, for the request's `field`."""
    encoded = dumps(data)
    size = len(encoded)
    is_flat = encoded.find(b"{", 1) < 0 and b"[" not in encoded  # much faster than looking at every value
    keys, depth = (len(data), 1) if is_flat else measure(data)
    if depth > MAX_DEPTH:
        raise InvalidRequest([Violation(field, f"JSON nests at most {MAX_DEPTH} levels; make it flatter.")])
    if keys > limits.context_keys or size > limits.context_bytes:
        raise LimitExceeded(
            f"A context holds at most {limits.context_keys:,} keys and {limits.context_bytes:,} bytes of JSON; "
            "remove what is no longer needed.",
            field="context",
        )
    if size * GROWTH > limits.wire_bytes and struct_bytes(data) > limits.wire_bytes:
        raise LimitExceeded(
            f"A context takes at most {limits.wire_bytes:,} bytes as a Struct, where every number takes 11 in a list; "
            "remove what is no longer needed, or keep long lists of numbers as strings.",
            field="context",
        )


def fitting(sizes: Iterable[int], most: int) -> int:
    """How many of the items fit on a page; at least one, so that paging makes progress."""
    total = count = 0
    for size in sizes:
        total += size
        if total > most and count:
            break
        count += 1
    return count


def body_bytes(body: MessageBody) -> int:
    """The approximate wire size of a message."""
    size = 0
    for value in body:
        if isinstance(value, str):
            size += len(value.encode())
        elif isinstance(value, bytes):
            size += len(value)
        elif isinstance(value, dict):
            size += struct_bytes(value)
    return size


def struct_bytes(values: JsonObject) -> int:
    """The size of an object as a google.protobuf.Struct."""
    return sum(
        _framed(_framed(len(key.encode())) + _framed(_value_bytes(value))) for key, value in values.items()
    )


def _value_bytes(value: Json) -> int:
    """The size of a value as a google.protobuf.Value."""
    if isinstance(value, str):
        return _framed(len(value.encode()))
    if isinstance(value, dict):
        return _framed(struct_bytes(value))
    if isinstance(value, list):
        return _framed(_items_bytes(value))
    return _SIZES[type(value)]


def _items_bytes(items: list[Json]) -> int:
    """The size of the items of a list. A context may have hundreds of thousands, of a few kinds and lengths."""
    if len(items) < _MANY:
        return sum(_framed(_value_bytes(item)) for item in items)
    kinds = Counter(map(type, items))
    size = sum(kinds.pop(kind, 0) * _framed(each) for kind, each in _SIZES.items())
    if kinds.pop(str, 0):
        lengths = Counter(map(len, map(str.encode, [item for item in items if isinstance(item, str)])))
        size += sum(count * _framed(_framed(length)) for length, count in lengths.items())
    if kinds:
        size += sum(_framed(_value_bytes(item)) for item in items if isinstance(item, (dict, list)))
    return size


def _framed(size: int) -> int:
    """The size of a length-delimited field: tag, varint length and content."""
    return size + (2 if size < 128 else 1 + (size.bit_length() + 6) // 7)
