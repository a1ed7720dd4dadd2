"""Values that are encoded once for all who read them."""

from __future__ import annotations

from typing import Generic, TypeVar
from weakref import finalize

T = TypeVar("T")


class EncodedOnce(Generic[T]):
    """The encoded form of each value while the value is alive, by its identity. Thread-safe."""

    def __init__(self) -> None:
        # Not a WeakKeyDictionary: it looks a value up several times slower, and one event has a thousand readers.
        self._encoded: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._encoded)

    def find(self, value: T) -> bytes | None:
        return self._encoded.get(id(value))

    def keep(self, value: T, encoded: bytes) -> bytes:
        """Returns `encoded`."""
        self._encoded[id(value)] = encoded
        finalize(value, self._encoded.pop, id(value), None).atexit = False
        return encoded
