"""Serves many concurrent reads with few: questions that arrive during a read are combined in the next one.

Under load a read waits a moment for the callers that were just answered to ask again: a thread hop, or a round trip to
a server, costs more than reading many rows. A question never joins a read that began before it, so its answer includes
everything acknowledged before. Equal questions in one read are asked once and share the answer: a thousand subscribers
of a session cost one read. A long read, such as pages of large messages, only delays its own questions: later ones are
read concurrently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")

GATHER_SECONDS: Final = 0.004
"""How long a read waits for about as many questions as the one before answered, if that was more than one."""


LONG_SECONDS: Final = 0.02
"""Later questions do not wait for a read that takes longer than this."""

MAX_LONG: Final = 2
"""How many such reads may run concurrently with the current one."""


class Gather(Generic[Question, Answer]):
    """`read` returns for each question, in the same order, an answer or the exception to raise for it."""

    def __init__(
        self,
        read: Callable[[list[Question]], Awaitable[Sequence[Answer | Exception]]],
        *,
        max_long: int = MAX_LONG,
    ) -> None:
        self._read = read
        self._max_long = max_long
        self._waiting: dict[Question, list[asyncio.Future[Answer]]] = {}
        self._asked = 0
        self._wanted = 1
        self._enough = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        """The current reader of waiting questions."""
        self._since: float | None = None
        """When its read began; None if it has not begun."""
        self._long: set[asyncio.Task[None]] = set()
        """Long reads that still run while others are served."""
        self._timer: asyncio.TimerHandle | None = None

    async def ask(self, question: Question) -> Answer:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.setdefault(question, []).append(answer)
        self._asked += 1
        if self._asked >= self._wanted:
            self._enough.set()
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        elif self._timer is None and self._max_long:
            self._timer = loop.call_later(LONG_SECONDS, self._read_concurrently)
        return await answer

    async def close(self) -> None:
        """Waits for running reads."""
        while reads := {*self._long, *([self._serving] if self._serving is not None else [])}:
            await asyncio.wait(reads)

    def _read_concurrently(self) -> None:
        """Starts another reader of waiting questions if the current read takes long."""
        self._timer, loop = None, asyncio.get_running_loop()
        if self._serving is None or not self._waiting:
            return
        is_long = self._since is not None and loop.time() - self._since >= LONG_SECONDS
        if is_long and len(self._long) < self._max_long:
            self._long.add(self._serving)
            self._serving, self._since = asyncio.create_task(self._serve()), None
        else:
            self._timer = loop.call_later(LONG_SECONDS, self._read_concurrently)

    async def _serve(self) -> None:
        this = asyncio.current_task()
        while self._waiting and self._serving is this:
            await self._gather()
            batch, self._waiting = self._waiting, {}
            self._wanted, self._asked = self._asked, 0
            self._since = asyncio.get_running_loop().time()
            await self._answer(batch)
            if self._serving is this:
                self._since = None
        # Not in a callback of the finished task, or a question that arrives before the callback would wait forever.
        if self._serving is this:
            self._serving = None
        self._long.discard(this)

    async def _answer(self, batch: dict[Question, list[asyncio.Future[Answer]]]) -> None:
        try:
            answers: Sequence[Answer | Exception] = await self._read(list(batch))
        except Exception as error:
            answers = [error] * len(batch)
        for askers, answer in zip(batch.values(), answers, strict=True):
            for asker in askers:
                _give(asker, answer)

    async def _gather(self) -> None:
        if self._asked < self._wanted:
            self._enough.clear()
            timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._enough.set)
            await self._enough.wait()
            timer.cancel()


def _give(asker: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if asker.done():  # the caller has left
        return
    if isinstance(answer, Exception):
        asker.set_exception(answer)
    else:
        asker.set_result(answer)
