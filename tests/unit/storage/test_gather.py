"""Gathering: many concurrent questions need few reads, and no answer is older than its question."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sessions_server.storage import gather
from sessions_server.storage.gather import MAX_LONG, Gather


class Source:
    """Answers with the number of reads so far; a read lasts until it is released."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()

    async def read(self, questions: list[str]) -> Sequence[int | Exception]:
        self.batches.append(questions)
        number = len(self.batches)
        self.begun.set()
        await self.free.wait()
        if "broken" in questions:
            raise ConnectionError
        return [ValueError(question) if question == "wrong" else number for question in questions]


@pytest.fixture
def source() -> Source:
    return Source()


async def test_concurrent_questions_share_a_read(source: Source) -> None:
    gather = Gather(source.read)
    assert await asyncio.gather(*map(gather.ask, "abc")) == [1, 1, 1]
    assert source.batches == [["a", "b", "c"]]


async def test_a_question_never_joins_an_earlier_read(source: Source) -> None:
    gather = Gather(source.read)
    source.free.clear()
    first = asyncio.create_task(gather.ask("a"))
    await source.begun.wait()
    later = [asyncio.create_task(gather.ask(question)) for question in "ab"]
    await asyncio.sleep(0)
    assert source.batches == [["a"]]
    source.free.set()
    assert await first == 1
    assert await asyncio.gather(*later) == [2, 2]
    assert source.batches == [["a"], ["a", "b"]]


async def test_each_question_gets_its_own_error(source: Source) -> None:
    gather = Gather(source.read)
    good, wrong = await asyncio.gather(gather.ask("a"), gather.ask("wrong"), return_exceptions=True)
    assert good == 1
    assert isinstance(wrong, ValueError)


async def test_a_failed_read_fails_only_its_own_questions(source: Source) -> None:
    gather = Gather(source.read)
    outcomes = await asyncio.gather(gather.ask("a"), gather.ask("broken"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionError, ConnectionError]
    assert await gather.ask("a") == 2


async def test_a_caller_that_leaves_affects_no_other(source: Source) -> None:
    gather = Gather(source.read)
    source.free.clear()
    tasks = [asyncio.create_task(gather.ask(question)) for question in "abc"]
    await source.begun.wait()
    tasks[1].cancel()
    source.free.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [outcomes[0], type(outcomes[1]), outcomes[2]] == [1, asyncio.CancelledError, 1]


async def test_closing_waits_for_a_running_read(source: Source) -> None:
    gather = Gather(source.read)
    source.free.clear()
    asked = asyncio.create_task(gather.ask("a"))
    await source.begun.wait()
    closing = asyncio.create_task(gather.close())
    await asyncio.sleep(0)
    assert not closing.done()
    source.free.set()
    await closing
    assert await asked == 1


async def test_later_questions_do_not_wait_for_a_long_read(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "LONG_SECONDS", 0.0)
    asked = Gather(source.read)
    source.free.clear()
    long = []
    for number in range(1, MAX_LONG + 2):  # nothing is asked after the last one
        long.append(asyncio.create_task(asked.ask("long")))
        while len(source.batches) < number:  # noqa: ASYNC110  # there is no signal to wait for
            await asyncio.sleep(0)
    waits = asyncio.create_task(asked.ask("a"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert source.batches == [["long"]] * (MAX_LONG + 1), "as many reads as allowed run at once"
    source.free.set()
    assert await asyncio.gather(*long) == [1, 2, 3]
    assert await waits == 4
    assert await asked.ask("b") == 5
    await asked.close()


async def test_gathering_can_be_limited_to_one_read_at_a_time(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "LONG_SECONDS", 0.0)
    asked = Gather(source.read, max_long=0)
    source.free.clear()
    both = [asyncio.create_task(asked.ask("long"))]
    await source.begun.wait()
    both.append(asyncio.create_task(asked.ask("a")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert source.batches == [["long"]]
    source.free.set()
    assert await asyncio.gather(*both) == [1, 2]
