"""Turns: never more than allowed, in order of request, and none is lost by a caller that leaves."""

from __future__ import annotations

import asyncio

from sessions_server.service.turns import Turns

FOREVER = 3600.0


async def nothing() -> None:
    """Does nothing while waiting."""


async def settled() -> None:
    """Returns when all tasks are waiting."""
    for _ in range(10):
        await asyncio.sleep(0)


class Taker:
    """Takes turns that end when the test says so."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.has_turn: list[int] = []
        self.began: dict[int, asyncio.Event] = {}
        self._ends: dict[int, asyncio.Event] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def ask(self, number: int) -> None:
        self.began[number], self._ends[number] = asyncio.Event(), asyncio.Event()
        self.tasks[number] = asyncio.create_task(self._take(number))
        await settled()

    async def _take(self, number: int) -> None:
        async with self._turns.one(nothing, every_seconds=FOREVER):
            self.has_turn.append(number)
            self.began[number].set()
            await self._ends[number].wait()

    async def end(self, number: int) -> None:
        self._ends[number].set()
        await self.tasks[number]
        await settled()

    async def cancel(self, number: int) -> None:
        self.tasks[number].cancel()
        await asyncio.gather(self.tasks[number], return_exceptions=True)
        await settled()


async def test_turns_are_given_in_order_and_within_the_limit() -> None:
    taker = Taker(Turns(2, longest_seconds=FOREVER))
    for number in range(5):
        await taker.ask(number)
    assert taker.has_turn == [0, 1]
    await taker.end(1)
    assert taker.has_turn == [0, 1, 2]
    await taker.cancel(3)
    await taker.cancel(0)
    assert taker.has_turn == [0, 1, 2, 4]
    await taker.ask(5)
    assert taker.has_turn == [0, 1, 2, 4], "both turns are taken"
    await taker.end(2)
    await taker.end(4)
    await taker.end(5)
    await taker.ask(6)
    await taker.ask(7)
    assert taker.has_turn == [0, 1, 2, 4, 5, 6, 7], "none is lost"
    await taker.ask(8)
    assert taker.has_turn[-1] == 7, "and none is added"
    for number in (6, 7, 8):
        await taker.end(number)


async def test_an_overlong_turn_passes_to_the_next_and_ends_once() -> None:
    taker = Taker(Turns(1, longest_seconds=0.001))
    for number in range(2):
        await taker.ask(number)
    await taker.began[1].wait()
    await taker.end(0)
    await taker.end(1)
    short = Taker(Turns(1, longest_seconds=FOREVER))
    for number in range(3):
        await short.ask(number)
    await short.end(0)
    assert short.has_turn == [0, 1]
    for number in (1, 2):
        await short.end(number)


async def test_a_waiter_runs_periodic_work_whose_failure_ends_the_wait() -> None:
    turns = Turns(1, longest_seconds=FOREVER)
    done: list[None] = []

    async def fail_at_last() -> None:
        done.append(None)
        if len(done) == 3:
            raise ConnectionError

    taker = Taker(turns)
    await taker.ask(0)
    try:
        async with turns.one(fail_at_last, every_seconds=0.001):
            raise AssertionError("the turn was taken")
    except ConnectionError:
        pass
    assert len(done) == 3
    await taker.ask(1)
    await taker.end(0)
    assert taker.has_turn == [0, 1]
    await taker.end(1)
