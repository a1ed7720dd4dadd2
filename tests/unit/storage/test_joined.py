"""Equal questions share a read that has not started, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sessions_server.storage.joined import Joined


class Reader:
    """Reads a question when allowed to, and returns how many reads have started."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.turn = asyncio.Event()
        self.end = asyncio.Event()
        self.joined = Joined(self._read)

    async def _read(self, question: str, begin: Callable[[], None]) -> str:
        try:
            await self.turn.wait()
            begin()
            self.begun += 1
            number = self.begun
            await self.end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if question == "bad":
            raise ValueError(question)
        return f"{question} {number}"


def ask(reader: Reader, *questions: str) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(reader.joined.ask(each)) for each in questions]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_equal_waiting_questions_share_a_read() -> None:
    reader = Reader()
    asked = ask(reader, "a", "a", "b", "a")
    reader.turn.set()
    reader.end.set()
    assert await asyncio.gather(*asked) == ["a 1", "a 1", "b 2", "a 1"]
    assert await reader.joined.ask("a") == "a 3"


async def test_a_question_never_joins_a_running_read() -> None:
    reader = Reader()
    reader.turn.set()
    [first] = ask(reader, "a")
    await settle()
    assert reader.begun == 1
    [second] = ask(reader, "a")
    await settle()
    reader.end.set()
    assert (await first, await second) == ("a 1", "a 2")


async def test_a_read_ends_when_all_its_callers_have_left() -> None:
    reader = Reader()
    first, second = ask(reader, "a", "a")
    await settle()
    first.cancel()
    await settle()
    assert reader.cancelled == 0
    second.cancel()
    await settle()
    assert reader.cancelled == 1
    reader.turn.set()
    reader.end.set()
    assert await reader.joined.ask("a") == "a 1"


async def test_every_caller_gets_the_error() -> None:
    reader = Reader()
    asked = ask(reader, "bad", "bad")
    reader.turn.set()
    reader.end.set()
    for each in asked:
        with pytest.raises(ValueError, match="bad"):
            await each
    assert reader.begun == 1
