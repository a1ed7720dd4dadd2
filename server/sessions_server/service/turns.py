"""Limits how many long pieces of work share the event loop at a time, so that short ones do not wait for all of
them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager


class Turns:
    """A fixed number of turns, given in the order of requests."""

    def __init__(self, at_once: int, *, longest_seconds: float) -> None:
        """A turn that lasts longer than this passes to the next in line, since its holder is waiting for something
        else."""
        self._free = asyncio.Semaphore(at_once)
        self._longest_seconds = longest_seconds

    @asynccontextmanager
    async def one(
        self, meanwhile: Callable[[], Awaitable[None]], *, every_seconds: float
    ) -> AsyncGenerator[None]:
        """Waits for a turn, which lasts as long as the context. Awaits `meanwhile` periodically until then."""
        waiting = asyncio.ensure_future(self._free.acquire())
        try:
            while not (await asyncio.wait({waiting}, timeout=every_seconds))[0]:
                await meanwhile()
        except BaseException:
            if not waiting.cancel():
                self._free.release()
            raise
        turn = _Turn(self._free, self._longest_seconds)
        try:
            yield
        finally:
            turn.end()


class _Turn:
    """Ends once, at the latest when its time is over."""

    def __init__(self, free: asyncio.Semaphore, longest_seconds: float) -> None:
        self._free = free
        self._is_over = False
        self._timer = asyncio.get_running_loop().call_later(longest_seconds, self.end)

    def end(self) -> None:
        self._timer.cancel()
        if not self._is_over:
            self._is_over = True
            self._free.release()
