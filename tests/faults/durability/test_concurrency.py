"""Many concurrent callers over gRPC: one effect per request, one winner, sequences without gaps."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Final

import grpc
import pytest

from sessions_client import AsyncClient, EventType
from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc
from tests.faults.durability.load import Load, check_histories, started_sessions, stub_of, whole_history
from tests.support.server import Server, start_server

REPEATS: Final = 32
ENDS: Final = 64
WRITERS: Final = 64
SESSIONS: Final = 8
MESSAGES_EACH: Final = 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
async def stub(server: Server) -> AsyncIterator[pb_grpc.SessionServiceAsyncStub]:
    async with stub_of(server) as stub:
        yield stub


async def test_concurrent_repetitions_have_one_effect_and_one_response(
    server: Server, stub: pb_grpc.SessionServiceAsyncStub
) -> None:
    [session_id] = await started_sessions(server, 1)
    request = pb.AddMessageRequest(
        session_id=session_id, message=pb.Message(role="user", content="once"), request_id="the-same"
    )
    responses = await asyncio.gather(*(stub.AddMessage(request) for _ in range(REPEATS)))
    assert len({response.SerializeToString(deterministic=True) for response in responses}) == 1
    async with AsyncClient(server.address) as client:
        [message] = await whole_history(client, session_id)
        assert (message.id, message.content) == (responses[0].message.id, "once")
        assert (await client.sessions.get(session_id)).last_sequence == message.sequence


async def test_one_of_many_concurrent_ends_wins_with_one_event(
    server: Server, stub: pb_grpc.SessionServiceAsyncStub
) -> None:
    [session_id] = await started_sessions(server, 1)
    outcomes = await asyncio.gather(*(end(stub, session_id) for _ in range(ENDS)))
    assert Counter(outcomes) == {grpc.StatusCode.OK: 1, grpc.StatusCode.FAILED_PRECONDITION: ENDS - 1}
    async with AsyncClient(server.address) as client:
        last = (await client.sessions.get(session_id)).last_sequence
        async with client.sessions.subscribe(session_id, after_sequence=0) as events:
            logged = [await anext(events) for _ in range(last)]
    assert [event.type for event in logged] == [
        EventType.CREATED,
        EventType.STATE_CHANGE,
        EventType.STATE_CHANGE,
    ]


async def end(stub: pb_grpc.SessionServiceAsyncStub, session_id: str) -> grpc.StatusCode:
    try:
        await stub.EndSession(pb.EndSessionRequest(session_id=session_id))
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_many_writers_on_a_few_sessions_leave_no_gap_in_any_sequence(
    server: Server, stub: pb_grpc.SessionServiceAsyncStub
) -> None:
    load = Load(await started_sessions(server, SESSIONS))
    await asyncio.gather(*(load.write(stub, writer, MESSAGES_EACH) for writer in range(WRITERS)))
    assert load.refusals == set()
    assert await check_histories(server, load) == WRITERS * MESSAGES_EACH
    for writer in range(WRITERS):
        own = [a.answer for a in load.acknowledged if a.request.request_id.startswith(f"{writer}-")]
        sequences = [message.sequence for message in own if message is not None]
        assert sequences == sorted(sequences), "a writer's messages are in the order in which it wrote them"
