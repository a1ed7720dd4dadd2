"""JSON as bytes: the encoding in which content is measured, hashed and stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from sessions_server.domain.models import Json, JsonObject


def dumps(value: Json) -> bytes:
    """Compact UTF-8 JSON; keys keep their order. Raises TypeError for more than 254 levels."""
    return orjson.dumps(value)


def canonical(value: Json) -> bytes:
    """Compact UTF-8 JSON with sorted keys, so that equal values give equal bytes. Raises TypeError as `dumps` does."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def to_keep(encoded: bytes) -> bytes:
    """A copy of encoded JSON for a cache: orjson leaves a result of any size in a buffer of at least 4 KiB, see
    https://github.com/home-assistant/core/pull/181245."""
    return bytes(memoryview(encoded))


def loads(data: bytes | memoryview | str) -> Any:
    return orjson.loads(data)


def loads_object(data: bytes | memoryview | str) -> JsonObject:
    """Raises ValueError if the JSON is not an object."""
    value = orjson.loads(data)
    if type(value) is not dict:
        raise ValueError("the stored JSON is not an object")
    return value
