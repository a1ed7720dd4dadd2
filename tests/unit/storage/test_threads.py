"""The threads that do SQLite's work for the event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest

from sessions_server.storage.sqlite.threads import Threads


@pytest.fixture
def two() -> Iterator[Threads]:
    threads = Threads(2, "work")
    yield threads
    threads.shutdown()


async def test_work_returns_its_result_or_raises_its_error(two: Threads) -> None:
    assert await two.submit(lambda: 6 * 7) == 42
    with pytest.raises(ZeroDivisionError):
        await two.submit(lambda: 1 // 0)
    assert await two.submit(threading.get_ident) != threading.get_ident()


async def test_work_runs_at_the_same_time_in_as_many_threads_as_allowed(two: Threads) -> None:
    both = threading.Barrier(2, timeout=30)
    await asyncio.gather(two.submit(both.wait), two.submit(both.wait))
    names = await asyncio.gather(*(two.submit(lambda: threading.current_thread().name) for _ in range(20)))
    assert set(names) <= {"work_0", "work_1"}


async def test_one_thread_does_its_work_in_order() -> None:
    one = Threads(1, "work")
    done: list[int] = []
    await asyncio.gather(*(one.submit(partial(done.append, number)) for number in range(100)))
    one.shutdown()
    assert done == [*range(100)]


async def test_work_whose_caller_leaves_first_is_not_begun() -> None:
    one, begun, release = Threads(1, "work"), [], threading.Event()
    running = one.submit(lambda: release.wait(30))
    left = one.submit(lambda: begun.append("left"))
    left.cancel()
    last = one.submit(lambda: begun.append("last"))
    release.set()
    assert await running
    await last
    one.shutdown()
    assert begun == ["last"]


async def test_a_shutdown_waits_for_queued_work_and_refuses_more() -> None:
    one, done = Threads(1, "work"), []
    results = [one.submit(lambda: done.append("work")) for _ in range(3)]
    one.shutdown()
    assert done == ["work"] * 3
    with pytest.raises(RuntimeError, match="shut down"):
        await one.submit(lambda: None)
    await asyncio.gather(*results)


class _Held:
    """Something that work refers to, such as a statement."""


async def test_what_failed_work_refers_to_is_freed_without_a_garbage_collection() -> None:
    one, held = Threads(1, "work"), list[weakref.ref[_Held]]()

    def fail() -> None:
        mine = _Held()
        held.append(weakref.ref(mine))
        raise ValueError

    gc.disable()
    try:
        with suppress(ValueError):  # `pytest.raises` would keep the error
            await one.submit(fail)
        await one.submit(lambda: None)  # its thread is done with the first
        assert [each() for each in held] == [None]
    finally:
        gc.enable()
        one.shutdown()
