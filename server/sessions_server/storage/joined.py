"""Lets equal waiting questions share one read, so that a crowd asking the same costs one.

A question never joins a running read: its answer must include everything acknowledged before it was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class _Reading:
    askers: int = 0
    begun: bool = False
    task: asyncio.Task[Any] = field(init=False)

    def begin(self) -> None:
        self.begun = True


class Joined(Generic[Question, Answer]):
    """`read` receives a question, and a function that it calls, in any thread, before it reads anything."""

    def __init__(self, read: Callable[[Question, Callable[[], None]], Awaitable[Answer]]) -> None:
        self._read = read
        self._waiting: dict[Question, _Reading] = {}

    async def ask(self, question: Question) -> Answer:
        """The answer, or the error of reading it. The read is cancelled once all its callers have left."""
        reading = self._waiting.get(question)
        if reading is None or reading.begun:
            reading = self._waiting[question] = _Reading()
            reading.task = asyncio.create_task(self._run(question, reading))
        reading.askers += 1
        try:
            answer: Answer = await asyncio.shield(reading.task)
            return answer
        finally:
            reading.askers -= 1
            if not reading.askers:
                reading.task.cancel()

    async def _run(self, question: Question, reading: _Reading) -> Answer:
        try:
            return await self._read(question, reading.begin)
        finally:
            if self._waiting.get(question) is reading:
                del self._waiting[question]
