"""Threads that run work for an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")


class _Job(NamedTuple):
    work: Callable[[], Any]
    result: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Threads:
    """Up to `most` threads for one event loop, started as needed; they do not keep the process alive.

    Python's own pool passes work on through two futures, each with locks, and a caller who is alone would notice that.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most: Final = most
        self._name: Final = name
        self._jobs: Final[SimpleQueue[_Job | None]] = SimpleQueue()
        self._unfinished = 0
        self._started: Final[list[threading.Thread]] = []
        self._is_closed = False

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Queues the work, which is not begun if the result is cancelled before. Raises RuntimeError after
        `shutdown`."""
        if self._is_closed:
            raise RuntimeError("The threads were shut down.")
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        self._unfinished += 1
        self._jobs.put(_Job(work, result, loop))
        if len(self._started) < min(self._unfinished, self._most):
            self._start_one()
        return result

    def shutdown(self) -> None:
        """Waits until the queued work is done."""
        self._is_closed = True
        for _ in self._started:
            self._jobs.put(None)
        for thread in self._started:
            thread.join()

    def _start_one(self) -> None:
        thread = threading.Thread(target=self._run, name=f"{self._name}_{len(self._started)}", daemon=True)
        self._started.append(thread)
        thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._do(job)
            del job  # or what the work refers to would stay until the next one

    def _do(self, job: _Job) -> None:
        outcome, error = None, None
        try:
            if not job.result.cancelled():
                outcome = job.work()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop was closed meanwhile
            job.loop.call_soon_threadsafe(self._end, job.result, outcome, error)
        del error, job  # the traceback refers to this call, and all would stay until a garbage collection

    def _end(self, result: asyncio.Future[Any], outcome: object, error: BaseException | None) -> None:
        self._unfinished -= 1
        if result.done():  # its caller has left
            return
        if error is None:
            result.set_result(outcome)
        else:
            result.set_exception(error)
