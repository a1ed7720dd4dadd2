"""Writers that add messages until they are refused, and record every call with its response.

They use gRPC without the client, which would retry.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from sessions_client import AsyncClient, Message
from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from tests.support.server import Server

EVENTS_BEFORE_THE_FIRST_MESSAGE: Final = 2
"""These tests create and start the session first."""

PAGE: Final = 1_000


@dataclass(slots=True, eq=False)
class Attempt:
    request: pb.AddMessageRequest
    answer: pb.Message | None = None
    refusal: grpc.StatusCode | None = None


class Load:
    def __init__(self, session_ids: list[str]) -> None:
        self.session_ids = session_ids
        self.attempts: list[Attempt] = []
        self._grown = asyncio.Condition()

    @property
    def acknowledged(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.answer is not None]

    @property
    def refusals(self) -> set[grpc.StatusCode]:
        return {attempt.refusal for attempt in self.attempts if attempt.refusal is not None}

    async def reached(self, acknowledged: int) -> None:
        async with self._grown:
            await self._grown.wait_for(lambda: len(self.acknowledged) >= acknowledged)

    async def write_until_refused(
        self, stub: pb_grpc.SessionServiceAsyncStub, writers: int, *, name: str, content_bytes: int = 0
    ) -> None:
        """Each writer stops at its first refusal. `name` distinguishes this run's requests from those of another."""
        async with asyncio.TaskGroup() as tasks:
            for writer in range(writers):
                tasks.create_task(self._write(stub, writer, f"{name}-{writer}", content_bytes))

    async def write(self, stub: pb_grpc.SessionServiceAsyncStub, writer: int, count: int) -> None:
        for number in range(count):
            await self._attempt(stub, self._request(writer, f"{writer}-{number}", 0))

    async def _write(
        self, stub: pb_grpc.SessionServiceAsyncStub, writer: int, name: str, content_bytes: int
    ) -> None:
        number = 0
        while (
            await self._attempt(stub, self._request(writer, f"{name}-{number}", content_bytes))
        ).answer is not None:
            number += 1

    def _request(self, writer: int, request_id: str, content_bytes: int) -> pb.AddMessageRequest:
        return pb.AddMessageRequest(
            session_id=self.session_ids[writer % len(self.session_ids)],
            message=pb.Message(role="user", content=request_id.ljust(content_bytes, ".")),
            request_id=request_id,
        )

    async def _attempt(self, stub: pb_grpc.SessionServiceAsyncStub, request: pb.AddMessageRequest) -> Attempt:
        attempt = Attempt(request)
        self.attempts.append(attempt)
        try:
            response = await stub.AddMessage(request)
        except grpc.aio.AioRpcError as error:
            attempt.refusal = error.code()
            return attempt
        async with self._grown:
            attempt.answer = response.message
            self._grown.notify_all()
        return attempt


@asynccontextmanager
async def stub_of(server: Server) -> AsyncIterator[pb_grpc.SessionServiceAsyncStub]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(server.address, options=options) as channel:
        yield pb_grpc.SessionServiceStub(channel)


async def started_sessions(server: Server, count: int) -> list[str]:
    async with AsyncClient(server.address) as client:
        sessions = [await client.sessions.create("writer") for _ in range(count)]
        for session in sessions:
            await client.sessions.start(session.id)
    return [session.id for session in sessions]


async def check_histories(server: Server, load: Load) -> int:
    """Checks that every acknowledged message is stored as it was returned, that none is stored twice, and that the
    sequences have no gap; returns the number of messages."""
    stored: dict[int, dict[str, Message]] = {}
    async with AsyncClient(server.address) as client:
        for index, session_id in enumerate(load.session_ids):
            history = await whole_history(client, session_id)
            last = (await client.sessions.get(session_id)).last_sequence
            expected = range(EVENTS_BEFORE_THE_FIRST_MESSAGE + 1, last + 1)
            assert [message.sequence for message in history] == list(expected)
            stored[index] = {message.id: message for message in history}
            assert len({message.content for message in history}) == len(history)
    for attempt in load.acknowledged:
        check_stored(attempt, stored[load.session_ids.index(attempt.request.session_id)])
    return sum(map(len, stored.values()))


def check_stored(attempt: Attempt, history: dict[str, Message]) -> None:
    assert attempt.answer is not None
    message = history[attempt.answer.id]
    assert (message.sequence, message.content) == (attempt.answer.sequence, attempt.request.message.content)


async def whole_history(client: AsyncClient, session_id: str) -> list[Message]:
    messages: list[Message] = []
    while True:
        after = messages[-1].sequence if messages else 0
        page = await client.sessions.get_history(session_id, limit=PAGE, after_sequence=after)
        messages += page
        if not page.has_more:
            return messages


async def check_repeats(stub: pb_grpc.SessionServiceAsyncStub, attempts: Iterable[Attempt]) -> None:
    """Repeats every request. The answered ones return the same response, and the others take effect now."""
    at_once = asyncio.Semaphore(64)

    async def repeat(attempt: Attempt) -> None:
        async with at_once:
            response = await stub.AddMessage(attempt.request)
        assert attempt.answer in (None, response.message)
        attempt.answer, attempt.refusal = response.message, None

    async with asyncio.TaskGroup() as tasks:
        for attempt in attempts:
            tasks.create_task(repeat(attempt))
