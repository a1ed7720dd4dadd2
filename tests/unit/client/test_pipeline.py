"""Pipelines of both clients over streams that break, stall or are refused."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from sessions_client import (
    AsyncClient,
    AsyncPipeline,
    DeadlineExceeded,
    Message,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from sessions_client._in_flight import MOST_COMMITS
from sessions_proto.v1 import commits_pb2 as commits_pb, sessions_pb2 as pb
from tests.support.flavours import FLAVOURS, open_client
from tests.unit.client.scripted import LOST, Failure

Requests = Iterator[commits_pb.StreamCommitsRequest]
Break = Callable[[grpc.ServicerContext], None]


class CommitServer:
    """Applies the appends in streams of commits, each request id once, and breaks streams when told to."""

    def __init__(self) -> None:
        self.histories: dict[str, list[str]] = defaultdict(list)
        self.applied: Counter[str] = Counter()
        self.received = 0
        self.has_received = threading.Event()
        self.streams = 0
        self.begin: list[Break] = []
        """What the next streams do first."""
        self.break_after: list[int] = []
        """After how many commits each of the next streams breaks, having applied the last one without answering it."""
        self.answers = threading.Event()
        self.answers.set()
        self._sequences = itertools.count(1)
        self._outcomes: dict[str, commits_pb.CommitResponse] = {}
        self._server = grpc.server(ThreadPoolExecutor(16))
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            commits_pb.StreamCommitsRequest.FromString,
            commits_pb.StreamCommitsResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("sessions.v1.CommitService", {"StreamCommits": handler}),)
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self.answers.set()
        self._server.stop(0).wait()

    def _stream(
        self, requests: Requests, context: grpc.ServicerContext
    ) -> Iterator[commits_pb.StreamCommitsResponse]:
        self.streams += 1
        begin = self.begin  # a test may replace it meanwhile
        if begin:
            begin.pop(0)(context)
        left = self.break_after.pop(0) if self.break_after else -1
        for request in requests:
            self.received += len(request.commits)
            self.has_received.set()
            outcomes = []
            for tagged in request.commits:
                outcomes.append(self._outcome(tagged))
                left -= 1
                if left == 0:
                    yield commits_pb.StreamCommitsResponse(outcomes=outcomes[:-1])
                    LOST.abort(context)
            self.answers.wait()
            yield commits_pb.StreamCommitsResponse(outcomes=outcomes)

    def _outcome(self, tagged: commits_pb.TaggedCommit) -> commits_pb.CommitOutcome:
        outcome = commits_pb.CommitOutcome(tag=tagged.tag)
        if tagged.commit.session_id == "missing":
            outcome.failure.code, outcome.failure.reason = 5, "SESSION_NOT_FOUND"
            return outcome
        known = self._outcomes.get(tagged.commit.request_id)
        if known is None:
            known = self._outcomes[tagged.commit.request_id] = self._apply(tagged.commit)
        outcome.response.CopyFrom(known)
        return outcome

    def _apply(self, commit: commits_pb.CommitRequest) -> commits_pb.CommitResponse:
        self.applied[commit.request_id] += 1
        response = commits_pb.CommitResponse()
        for operation in commit.operations:
            self.histories[commit.session_id].append(operation.append.content)
            stored = pb.Message(id=f"m-{operation.append.content}", sequence=next(self._sequences))
            response.results.add(appended=stored)
        return response


@pytest.fixture
def commits() -> Iterator[CommitServer]:
    server = CommitServer()
    yield server
    server.stop()


@pytest.fixture(params=FLAVOURS)
async def client(request: pytest.FixtureRequest, commits: CommitServer) -> AsyncIterator[AsyncClient]:
    client = open_client(request.param, commits.address)
    yield client
    await client.close()


async def test_a_write_returns_what_the_single_call_returns(
    client: AsyncClient, commits: CommitServer
) -> None:
    async with client.pipeline() as p:
        message = await p.add_message("s", role="user", content="a", request_id="r-1")
    assert (message.id, message.sequence, message.role, message.content) == ("m-a", 1, "user", "a")
    assert commits.applied == {"r-1": 1}


async def test_a_refused_write_raises_what_the_single_call_raises_and_the_others_succeed(
    client: AsyncClient,
) -> None:
    async with client.pipeline() as p:
        writes = [p.add_message(session, role="user", content="a") for session in ("s", "missing", "t")]
        first, refused, last = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(refused, NotFound)
    assert refused.request_id
    assert not refused.may_have_happened
    assert not isinstance(first, BaseException)
    assert not isinstance(last, BaseException)


async def test_nothing_is_lost_repeated_or_reordered_when_streams_break(
    client: AsyncClient, commits: CommitServer
) -> None:
    commits.break_after = [1, 7, 2, 30, 1]

    async def writer(name: str, p: AsyncPipeline) -> list[str]:
        return [(await p.add_message(name, role="user", content=f"{name}{n}")).content for n in range(25)]

    async with client.pipeline() as p:
        written = await asyncio.gather(*(writer(name, p) for name in "abcd"))
    assert written == [[f"{name}{n}" for n in range(25)] for name in "abcd"]
    assert {name: commits.histories[name] for name in "abcd"} == dict(zip("abcd", written, strict=True))
    assert set(commits.applied.values()) == {1}
    assert commits.break_after == []


async def test_leaving_the_block_waits_for_every_outcome(commits: CommitServer) -> None:
    async with AsyncClient(commits.address) as client:
        async with client.pipeline() as p:
            tasks = [asyncio.create_task(p.add_message("s", role="user", content=str(n))) for n in range(100)]
            await asyncio.sleep(0)
        assert all(task.done() for task in tasks)
    assert commits.histories["s"] == [str(n) for n in range(100)]


async def test_many_commits_share_one_request(commits: CommitServer) -> None:
    commits.answers.clear()
    async with AsyncClient(commits.address) as client, client.pipeline() as p:
        tasks = [asyncio.create_task(p.add_message("s", role="user", content=str(n))) for n in range(500)]
        await asyncio.sleep(0)
        commits.answers.set()
        await asyncio.gather(*tasks)
    assert commits.received == 500
    assert commits.streams == 1


async def test_a_full_pipeline_makes_the_next_write_wait(commits: CommitServer) -> None:
    commits.answers.clear()
    async with AsyncClient(commits.address) as client, client.pipeline() as p:
        tasks = [
            asyncio.create_task(p.add_message("s", role="user", content=str(n)))
            for n in range(MOST_COMMITS + 10)
        ]
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded) as late:
            await p.add_message("s", role="user", content="late", timeout=0.2)
        assert not late.value.may_have_happened
        assert commits.received <= MOST_COMMITS
        commits.answers.set()
        await asyncio.gather(*tasks)
    assert commits.histories["s"] == [str(n) for n in range(MOST_COMMITS + 10)]


async def test_a_timed_out_write_reports_that_it_may_have_happened(
    client: AsyncClient, commits: CommitServer
) -> None:
    commits.answers.clear()
    async with client.pipeline() as p:
        with pytest.raises(DeadlineExceeded) as late:
            await p.add_message("s", role="user", content="a", request_id="r", timeout=1)
        commits.answers.set()
        assert late.value.request_id == "r"
        assert late.value.may_have_happened
        await p.add_message("s", role="user", content="b")
    assert commits.histories["s"] == ["a", "b"]


async def test_a_server_that_stays_down_is_named_at_the_deadline(
    client: AsyncClient, commits: CommitServer
) -> None:
    commits.begin = [LOST.abort] * 1000
    async with client.pipeline() as p:
        patient = asyncio.create_task(add(p, "a"))
        while commits.streams < 2:  # noqa: ASYNC110  # then the client knows why the first one ended
            await asyncio.sleep(0.001)
        with pytest.raises(Unavailable):
            await p.add_message("s", role="user", content="b", timeout=0.1)
        commits.begin = []
        await patient


async def add(p: AsyncPipeline, content: str) -> Message:
    return await p.add_message("s", role="user", content=content)


async def test_a_refused_stream_fails_writes_in_flight_and_the_next_write_opens_another(
    client: AsyncClient, commits: CommitServer
) -> None:
    refusal = Failure(grpc.StatusCode.UNAUTHENTICATED, reason="UNAUTHENTICATED")
    # More often than the client asks: grpc.aio loses a refusal now and then, and the client then asks again.
    # https://github.com/grpc/grpc/issues/36066
    commits.begin = [refusal.abort] * 1000
    async with client.pipeline() as p:
        with pytest.raises(Unauthenticated):
            await p.add_message("s", role="user", content="a")
        assert commits.streams > 1
        # A later write is asked for again like the first one.
        commits.begin = [refusal.abort]
        assert (await p.add_message("s", role="user", content="b")).content == "b"


async def test_a_closed_pipeline_says_so(client: AsyncClient, commits: CommitServer) -> None:
    async with client.pipeline() as p:
        pass
    with pytest.raises(RuntimeError, match="pipeline is closed"):
        await p.add_message("s", role="user", content="a")
    assert commits.streams == 0


async def test_closing_the_client_closes_its_pipelines(commits: CommitServer) -> None:
    commits.answers.clear()
    client = AsyncClient(commits.address)
    p = client.pipeline()
    task = asyncio.create_task(p.add_message("s", role="user", content="a"))
    assert await asyncio.to_thread(commits.has_received.wait, 30)
    await client.close()
    with pytest.raises(RuntimeError, match="client is closed"):
        await task
    with contextlib.suppress(RuntimeError):
        await p.close()
