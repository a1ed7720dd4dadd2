"""JSON as bytes: the one encoding in which content is measured, hashed and stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from sessions_server.domain.models import Json, JsonObject


def dumps(value: Json) -> bytes:
    """Compact UTF-8 JSON, keys in their own order."""
    return orjson.dumps(value)


def canonical(value: Json) -> bytes:
    """Compact UTF-8 JSON with sorted keys: equal values give equal bytes."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def loads(data: bytes | memoryview | str) -> Any:
    return orjson.loads(data)


def loads_object(data: bytes | memoryview | str) -> JsonObject:
    """Raises ValueError for any other JSON."""
    value = orjson.loads(data)
    if type(value) is not dict:
        raise ValueError("a JSON object was stored here")
    return value
