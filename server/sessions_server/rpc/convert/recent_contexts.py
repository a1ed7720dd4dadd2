"""A cache of large contexts as encoded Structs, updated with only the values that have changed.

The response to a context change holds the whole context, and converting thousands of keys would take several times as
long as the rest of the call.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import compress, islice
from operator import eq, is_not
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from google.protobuf.struct_pb2 import Struct

from sessions_server.rpc.convert.values import put_object, put_value

if TYPE_CHECKING:
    from sessions_server.domain.models import JsonObject, SessionKey

FEWEST_KEYS: Final = 256
"""Smaller contexts are converted just as fast."""

MOST_BYTES: Final = 8 * 1024 * 1024
"""How many bytes of encoded Structs are kept."""

_MOST_GROWTH: Final = 2
_FEWEST_UNCHANGED: Final = 4


class _Made(NamedTuple):
    value: JsonObject
    made: bytes
    whole: int
    """The length before changed values were appended."""


class RecentContextStructs:
    """Encoded contexts of recently changed sessions. Thread-safe."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._room = most_bytes
        self._kept: OrderedDict[SessionKey, _Made] = OrderedDict()
        self._lock = Lock()

    def put(self, key: SessionKey, struct: Struct, value: JsonObject) -> None:
        """Fills an empty Struct, and marks it as present if it is a field."""
        last = self._take(key)
        if len(value) < FEWEST_KEYS:
            put_object(struct, value)
            return
        self._keep(key, _made_from(last, struct, value))

    def _take(self, key: SessionKey) -> _Made | None:
        with self._lock:
            last = self._kept.pop(key, None)
            if last is not None:
                self._room += len(last.made)
        return last

    def _keep(self, key: SessionKey, made: _Made) -> None:
        self._take(key)
        with self._lock:
            self._kept[key] = made
            self._room -= len(made.made)
            while self._room < 0:
                _, oldest = self._kept.popitem(last=False)
                self._room += len(oldest.made)


def _made_from(last: _Made | None, struct: Struct, value: JsonObject) -> _Made:
    """Fills the Struct, reusing the last encoded form if few values have changed."""
    if last is not None and len(last.made) <= _MOST_GROWTH * last.whole:
        changed = _changed(last.value, value)
        if changed is not None:
            # Protobuf uses the last of several map entries with the same key.
            made = last.made + _bytes_of({key: value[key] for key in changed})
            struct.SetInParent()
            struct.MergeFromString(made)
            return _Made(value, made, last.whole)
    put_object(struct, value)
    made = struct.SerializeToString()
    return _Made(value, made, len(made))


def _changed(old: JsonObject, new: JsonObject) -> list[str] | None:
    """The keys whose values are not the same object in both; None if too many differ, or keys were removed. Values are
    never modified in place, so the same object is an equal one."""
    if len(new) < len(old) or not all(map(eq, old, new)):
        return None
    changed = [
        *compress(new, map(is_not, new.values(), old.values())),
        *islice(new, len(old), None),
    ]
    return changed if _FEWEST_UNCHANGED * len(changed) <= len(new) else None


def _bytes_of(values: JsonObject) -> bytes:
    struct = Struct()
    for key, value in values.items():
        put_value(struct.fields[key], value)
    return struct.SerializeToString()
