"""How much of a stream of commits is in progress at once, and what its end leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

import pytest

from sessions_proto.v1 import commits_pb2 as commits_pb, sessions_pb2 as pb
from sessions_server.domain.commit import Commit, Committed
from sessions_server.domain.errors import Unavailable
from sessions_server.domain.operations import Done
from sessions_server.domain.ports import Caller
from sessions_server.rpc.pipeline import MOST_BYTES, MOST_COMMITS, Pipeline
from tests.unit.rpc.build import LIMITS, TENANT


class Sessions:
    """Accepts commits, and ends them when the test says so."""

    def __init__(self) -> None:
        self.sent: list[tuple[Commit, asyncio.Future[Committed]]] = []
        self.grew = asyncio.Event()

    def send(self, commit: Commit) -> asyncio.Future[Committed]:
        result: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self.sent.append((commit, result))
        self.grew.set()
        return result

    def end(self, count: int) -> None:
        """Ends the oldest in progress."""
        for _ in range(count):
            commit, result = self.sent.pop(0)
            result.set_result(Committed(tuple(Done() for _ in commit.operations)))


class Stream:
    """A pipeline with its caller."""

    def __init__(self) -> None:
        self.sessions = Sessions()
        self.responses: list[commits_pb.StreamCommitsResponse] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.taken = 0
        self._pipeline = Pipeline(cast(Any, self.sessions), Caller(TENANT), LIMITS)

    def run(self, commits: Iterable[commits_pb.CommitRequest], *, per_request: int = 1) -> asyncio.Task[None]:
        return asyncio.create_task(
            self._pipeline.run(self._requests(list(commits), per_request), self._write)
        )

    @property
    def tags(self) -> list[int]:
        return [outcome.tag for response in self.responses for outcome in response.outcomes]

    async def _requests(
        self, commits: list[commits_pb.CommitRequest], per_request: int
    ) -> AsyncIterator[commits_pb.StreamCommitsRequest]:
        for start in range(0, len(commits), per_request):
            batch = commits[start : start + per_request]
            self.taken += len(batch)
            tagged = [commits_pb.TaggedCommit(tag=start + n, commit=commit) for n, commit in enumerate(batch)]
            yield commits_pb.StreamCommitsRequest(commits=tagged)

    async def _write(self, raw: bytes) -> None:
        await self.reads.wait()
        self.responses.append(commits_pb.StreamCommitsResponse.FromString(raw))


def moves(count: int) -> list[commits_pb.CommitRequest]:
    operations = [commits_pb.Operation(move=commits_pb.MOVE_START)]
    return [commits_pb.CommitRequest(session_id="s", operations=operations)] * count


def large(size: int) -> commits_pb.CommitRequest:
    """A commit of this many bytes, in records of the maximum size."""
    commit = commits_pb.CommitRequest(session_id="s")
    while (left := size - commit.ByteSize()) > 200:
        message = pb.Message(role="user", payload=bytes(min(left - 100, 3_000_000)))
        commit.operations.add(append=message)
    return commit


async def settle() -> None:
    """Lets everything happen that does not depend on the test."""
    for _ in range(50):
        await asyncio.sleep(0)


async def until_sent(stream: Stream, count: int) -> None:
    async with asyncio.timeout(60):
        while len(stream.sessions.sent) < count:
            stream.sessions.grew.clear()
            await stream.sessions.grew.wait()
    await settle()


async def test_reading_pauses_at_the_limit_of_commits() -> None:
    stream = Stream()
    running = stream.run(moves(MOST_COMMITS + 500))
    await until_sent(stream, MOST_COMMITS)
    assert len(stream.sessions.sent) == MOST_COMMITS
    assert stream.taken == MOST_COMMITS + 1, "one waits for room"
    stream.sessions.end(10)
    await until_sent(stream, MOST_COMMITS)
    assert stream.taken == MOST_COMMITS + 11
    stream.sessions.end(MOST_COMMITS)
    await until_sent(stream, 490)
    stream.sessions.end(490)
    await running
    assert stream.tags == list(range(MOST_COMMITS + 500))


async def test_commits_with_unread_outcomes_still_count() -> None:
    stream = Stream()
    stream.reads.clear()
    running = stream.run(moves(MOST_COMMITS + 1), per_request=1000)
    await until_sent(stream, MOST_COMMITS)
    stream.sessions.end(MOST_COMMITS)
    await settle()
    assert stream.sessions.sent == []
    stream.reads.set()
    await until_sent(stream, 1)
    stream.sessions.end(1)
    await running


async def test_reading_pauses_at_the_limit_of_bytes_except_for_one_large_commit() -> None:
    stream = Stream()
    third = MOST_BYTES // 3
    running = stream.run([large(third), large(third), large(third), large(third)])
    await until_sent(stream, 2)
    assert len(stream.sessions.sent) in (2, 3)
    under_way = len(stream.sessions.sent)
    stream.sessions.end(1)
    await until_sent(stream, under_way)
    while not running.done():
        stream.sessions.end(len(stream.sessions.sent))
        await asyncio.sleep(0.001)
    assert stream.tags == [0, 1, 2, 3]


async def test_simultaneous_outcomes_share_a_response() -> None:
    stream = Stream()
    running = stream.run(moves(100), per_request=100)
    await until_sent(stream, 100)
    stream.sessions.end(100)
    await running
    assert len(stream.responses) == 1


async def test_a_cut_stream_cancels_no_commit() -> None:
    stream = Stream()
    running = stream.run(moves(3))
    await until_sent(stream, 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not any(result.cancelled() for _, result in stream.sessions.sent)


async def test_an_unwritable_caller_ends_the_stream() -> None:
    stream = Stream()

    async def gone(raw: bytes) -> None:
        raise ConnectionError

    pipeline = Pipeline(cast(Any, stream.sessions), Caller(TENANT), LIMITS)
    running = asyncio.create_task(pipeline.run(stream._requests(moves(MOST_COMMITS + 1), 1), gone))
    await until_sent(stream, MOST_COMMITS)
    stream.sessions.end(1)
    with pytest.raises(ConnectionError):
        await running


async def test_a_failed_commit_is_an_outcome() -> None:
    stream = Stream()
    running = stream.run(moves(2))
    await until_sent(stream, 2)
    stream.sessions.sent.pop(0)[1].set_exception(Unavailable("Later."))
    stream.sessions.sent.pop(0)[1].set_exception(KeyError("secret"))
    await running
    failures = [outcome.failure for response in stream.responses for outcome in response.outcomes]
    assert [failure.reason for failure in failures] == ["UNAVAILABLE", "INTERNAL"]
    assert "secret" not in failures[1].message
