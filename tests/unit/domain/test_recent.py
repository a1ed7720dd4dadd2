"""The cache of recent values: it is bounded, and what is used stays."""

from __future__ import annotations

import gc
import weakref

from sessions_server.domain.recent import ENTRY_BYTES, Recent


class Value:
    """A value that can be seen to be dropped."""


def test_the_cache_is_bounded() -> None:
    recent = Recent[int, Value](generation_bytes=1_000 + 33 * ENTRY_BYTES)
    alive: weakref.WeakSet[Value] = weakref.WeakSet()
    for number in range(1_000):
        value = Value()
        alive.add(value)
        recent.keep(number, value, 30)
        del value
        gc.collect(0)
        assert len(alive) <= 2 * 1_000 // 30
    assert len(alive) >= 1_000 // 30


def test_a_value_in_use_stays() -> None:
    recent = Recent[str, int](generation_bytes=1_000 + 33 * ENTRY_BYTES)
    recent.keep("always", 0, 30)
    for number in range(1_000):
        recent.keep(str(number), number, 30)
        assert recent.find("always") == 0
    assert recent.find("1") is None
    assert recent.find("999") == 999
