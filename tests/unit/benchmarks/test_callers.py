"""The callers send a different request id with every call, and count actual responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from benchmarks.callers import REQUEST_ID, Answered, call
from benchmarks.load import BenchmarkError, Call
from sessions_proto.v1 import sessions_pb2 as pb

CALLERS = 8


class Recorder:
    def __init__(self) -> None:
        self.request_ids: list[str] = []
        self.sessions: set[str] = set()

    async def add(self, request: pb.AddMessageRequest, _: object) -> pb.AddMessageResponse:
        self.request_ids.append(request.request_id)
        self.sessions.add(request.session_id)
        return pb.AddMessageResponse(message=pb.Message(id="m"))

    async def refuse(
        self, _: pb.AddMessageRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such session.")


@pytest.fixture
async def served() -> AsyncIterator[tuple[str, Recorder]]:
    recorder = Recorder()
    read, write = pb.AddMessageRequest.FromString, pb.AddMessageResponse.SerializeToString
    methods = {
        "Add": grpc.unary_unary_rpc_method_handler(recorder.add, read, write),
        "Refuse": grpc.unary_unary_rpc_method_handler(recorder.refuse, read, write),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("recorder", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}", recorder
    await server.stop(0)


async def calling(address: str, method: str) -> Answered:
    requests = [pb.AddMessageRequest(session_id=f"s{n}", request_id=REQUEST_ID) for n in range(CALLERS)]
    calls = [Call(address, f"recorder/{method}", request, 1) for request in requests]
    return await asyncio.to_thread(call, calls, callers=CALLERS, seconds=0.2)


async def test_every_call_has_its_own_request_id(served: tuple[str, Recorder]) -> None:
    address, recorder = served
    answered = await calling(address, "Add")
    assert len(recorder.request_ids) == len(set(recorder.request_ids)) == answered.succeeded >= CALLERS
    assert len(recorder.sessions) == CALLERS


async def test_a_refused_call_fails_the_measurement(served: tuple[str, Recorder]) -> None:
    with pytest.raises(BenchmarkError, match="refused"):
        await calling(served[0], "Refuse")
