"""A cache of recently stored large contexts, so that the next change need not parse the JSON, which is the largest
cost.

A context is looked up by its exact stored bytes, so a stale one is never found, whether or not the transaction that
stored it committed. Encrypted contexts are not cached, because their keys may leave the keyring.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from sessions_server.domain.jsonbytes import to_keep

if TYPE_CHECKING:
    from sessions_server.domain.models import JsonObject, SessionKey

SMALLEST_BYTES: Final = 4 * 1024
"""Smaller ones are read just as fast."""

MOST_BYTES: Final = 8 * 1024 * 1024
"""The size of the cache in bytes of JSON; the values take about five times as much."""


class RecentContexts:
    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._room = most_bytes
        self._kept: OrderedDict[SessionKey, tuple[bytes, JsonObject]] = OrderedDict()

    def find(self, key: SessionKey, stored: bytes) -> JsonObject | None:
        """The value of a session's stored context, if cached."""
        found = self._kept.get(key)
        return found[1] if found is not None and found[0] == stored else None

    def keep(self, key: SessionKey, stored: bytes, value: JsonObject) -> None:
        if (last := self._kept.pop(key, None)) is not None:
            self._room += len(last[0])
        if len(stored) < SMALLEST_BYTES:
            return
        self._kept[key] = (to_keep(stored), value)
        self._room -= len(stored)
        while self._room < 0:
            _, (oldest, _) = self._kept.popitem(last=False)
            self._room += len(oldest)
