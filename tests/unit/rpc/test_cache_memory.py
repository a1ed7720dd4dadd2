"""Caches take about the memory that they are given, whatever the size of what they keep."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from sessions_server.domain.codec import encode_body
from sessions_server.domain.jsonbytes import dumps
from sessions_server.domain.models import Message, MessageBody, SessionKey
from sessions_server.domain.ports import HistoryPage
from sessions_server.domain.recent import Recent
from sessions_server.rpc.convert import history
from sessions_server.rpc.convert.recent import RecentStructs
from sessions_server.storage import recent_messages
from sessions_server.storage.content import Content
from sessions_server.storage.recent_contexts import SMALLEST_BYTES, RecentContexts

if TYPE_CHECKING:
    Fill = Callable[[pytest.MonkeyPatch, str], Callable[[int], None]]

GENERATION: Final = 256 * 1024
BOUND: Final = 2 * GENERATION
COUNT: Final = 5_000
"""Enough to fill any of the caches several times."""


def structs(_patch: pytest.MonkeyPatch, text: str) -> Callable[[int], None]:
    cache = RecentStructs(GENERATION)

    def use(number: int) -> None:
        cache.encoded({"a": f"{number}{text}"})

    return use


def messages(patch: pytest.MonkeyPatch, text: str) -> Callable[[int], None]:
    patch.setattr(recent_messages, "_RECENT", Recent[Any, Any](GENERATION))
    content = Content(cast(Any, None), SessionKey("default", "s"), None)

    def use(number: int) -> None:
        payload = bytes(memoryview(encode_body(MessageBody("user", f"{number}{text}"))))  # as from a database
        recent_messages.read_messages(content, [(number + 1_000, f"{number:036}", number, None, payload)])

    return use


def encoded_messages(patch: pytest.MonkeyPatch, text: str) -> Callable[[int], None]:
    patch.setattr(history, "_MESSAGES", Recent[Any, Any](GENERATION))

    def use(number: int) -> None:
        body = MessageBody("user", f"{number}{text}")
        message = Message(f"{number:036}", cast(Any, number + 1_000), cast(Any, number), body)
        history.encode_history(HistoryPage((message,), has_more=False))

    return use


@pytest.mark.parametrize("characters", [1, 50, 3_000])
@pytest.mark.parametrize("cache", [structs, messages, encoded_messages])
def test_a_cache_takes_the_memory_that_it_counts(
    cache: Fill, characters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use = cache(monkeypatch, "x" * characters)
    use(0)
    assert BOUND / 4 < memory_of(use, COUNT) < 1.5 * BOUND


def test_a_cached_context_does_not_keep_the_encoder_s_buffer() -> None:
    cache = RecentContexts(BOUND)
    text = "x" * (SMALLEST_BYTES + 1_000)

    def use(number: int) -> None:
        cache.keep(SessionKey("default", f"{number}"), dumps({"a": f"{number}{text}"}), {})

    assert memory_of(use, 2 * BOUND // len(text)) < 1.5 * BOUND


def memory_of(use: Callable[[int], None], count: int) -> int:
    """What this many uses leave, in bytes."""
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            use(number)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
