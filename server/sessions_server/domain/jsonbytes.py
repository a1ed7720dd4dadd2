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


def loads(data: bytes | memoryview | str) -> Any:
    return orjson.loads(data)


def loads_object(data: bytes | memoryview | str) -> JsonObject:
    """Raises ValueError if the JSON is not an object."""
    value = orjson.loads(data)
    if type(value) is not dict:
        raise ValueError("the stored JSON is not an object")
    return value
