"""A cache of recently used values, up to a total size."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

ENTRY_BYTES: Final = 250
"""The memory of an entry besides what its key and value contain, which is most of it if they are small."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by their keys, in two generations. A value that is used again moves to the younger one; when that is full,
    it replaces the older one, which is dropped. Threads may share the cache: at worst the size of a value is not
    counted."""

    def __init__(self, generation_bytes: int) -> None:
        self._room = self._most = generation_bytes
        self._young: dict[K, tuple[V, int]] = {}
        self._old: dict[K, tuple[V, int]] = {}

    def find(self, key: K) -> V | None:
        kept = self._young.get(key)
        if kept is None:
            if (kept := self._old.get(key)) is None:
                return None
            self._add(key, *kept)
        return kept[0]

    def keep(self, key: K, value: V, size: int) -> None:
        """`size` is the estimated memory of what both contain, in bytes."""
        self._add(key, value, size + ENTRY_BYTES)

    def _add(self, key: K, value: V, size: int) -> None:
        self._room -= size
        if self._room < 0:
            self._room = self._most - size
            self._young, self._old = {}, self._young
        self._young[key] = value, size
