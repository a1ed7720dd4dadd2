"""Serves many concurrent reads by few: what is asked while a read is under way goes into the next one, together.

Under load a read waits a moment for the callers that were just answered to ask again: a hop into a thread, or a round
trip to a server, costs more than the reading of many rows. A question never joins a read that began before it was
asked, so its answer has in it all that was acknowledged before. Equal questions of one read are asked once, and share
one answer: a thousand subscribers of a session cost one read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")

GATHER_SECONDS: Final = 0.004
"""How long a read waits for about as many questions as the one before answered, if that was more than one."""


class Gather(Generic[Question, Answer]):
    """`read` answers each question in its place, with an answer or with the exception to raise for it."""

    def __init__(self, read: Callable[[list[Question]], Awaitable[Sequence[Answer | Exception]]]) -> None:
        self._read = read
        self._waiting: dict[Question, list[asyncio.Future[Answer]]] = {}
        self._asked = 0
        self._wanted = 1
        self._enough = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(question, []).append(answer)
        self._asked += 1
        if self._asked >= self._wanted:
            self._enough.set()
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        return await answer

    async def close(self) -> None:
        """Waits for the reads that are under way."""
        if self._serving is not None:
            await self._serving

    async def _serve(self) -> None:
        while self._waiting:
            await self._gather()
            batch, self._waiting = self._waiting, {}
            self._wanted, self._asked = self._asked, 0
            try:
                answers: Sequence[Answer | Exception] = await self._read(list(batch))
            except Exception as error:
                answers = [error] * len(batch)
            for askers, answer in zip(batch.values(), answers, strict=True):
                for asker in askers:
                    _answer(asker, answer)
        # Not a callback of the finished task: a question that comes before it ran would wait forever.
        self._serving = None

    async def _gather(self) -> None:
        if self._asked < self._wanted:
            self._enough.clear()
            timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._enough.set)
            await self._enough.wait()
            timer.cancel()


def _answer(asker: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if asker.done():  # the caller went away
        return
    if isinstance(answer, Exception):
        asker.set_exception(answer)
    else:
        asker.set_result(answer)
