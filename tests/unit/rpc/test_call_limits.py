"""Limits on concurrent use by callers, and streams in both directions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from sessions_proto.v1 import commits_pb2, sessions_pb2 as pb
from sessions_server.domain.ports import Caller
from sessions_server.rpc.calls import LARGE_BYTES
from sessions_server.rpc.convert.common import OFF_LOOP_BYTES, read
from sessions_server.rpc.quotas import Bounds
from sessions_server.rpc.streams import StreamBounds
from tests.unit.rpc.build import LIMITS
from tests.unit.rpc.serving import CALL_LIMITS, SERVICE, WRITER, Serving, authorization, reason_of, serving

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.rpc.calls import Write

STREAM_COMMITS = "/sessions.v1.CommitService/StreamCommits"
LARGE = pb.AddMessageRequest(message=pb.Message(content="x" * LARGE_BYTES)).SerializeToString()


class Gate:
    """A method that waits until it is released."""

    def __init__(self) -> None:
        self.entered, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, _: object, __: Caller) -> pb.AddMessageResponse:
        self.entered.set()
        await self.open.wait()
        return pb.AddMessageResponse()


async def imported(server: Serving, *requests: bytes, then: float = 0) -> str:
    """The reason for which an import of these requests is refused; its last request takes this long."""
    call: Any = server.channel.stream_unary(f"/{SERVICE.full_name}/ImportSession")

    async def send() -> AsyncIterator[bytes]:
        for request in requests:
            yield request
        await asyncio.sleep(then)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(send(), metadata=authorization(WRITER))
    return reason_of(caught.value)


async def take_all(requests: AsyncIterator[object], __: Caller) -> pb.ImportSessionResponse:
    async for _ in requests:
        pass
    return pb.ImportSessionResponse()


async def test_large_requests_beyond_the_limit_are_refused_temporarily_and_small_ones_are_not() -> None:
    gate = Gate()
    limits = CALL_LIMITS._replace(bytes_in_flight=Bounds(3 * len(LARGE), len(LARGE)))
    async with serving(limits=limits, AddMessage=gate) as server:
        first = asyncio.ensure_future(server.call("AddMessage", LARGE))
        await gate.entered.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.call("AddMessage", LARGE)
        assert (caught.value.code(), reason_of(caught.value)) == (
            grpc.StatusCode.UNAVAILABLE,
            "UNAVAILABLE",
        )
        await server.call("SetContext", LARGE[:0])
        gate.open.set()
        await first
        await server.call("AddMessage", LARGE)


async def test_an_idle_import_is_ended() -> None:
    async with serving(limits=CALL_LIMITS._replace(idle_seconds=0.01), ImportSession=take_all) as server:
        assert await imported(server, b"", then=60) == "LIMIT_EXCEEDED"


async def test_the_size_of_an_import_is_bounded() -> None:
    one = pb.ImportSessionRequest(session_id="s").SerializeToString()
    async with serving(
        limits=CALL_LIMITS._replace(import_bytes=2 * len(one)), ImportSession=take_all
    ) as server:
        assert await imported(server, one, one, one) == "LIMIT_EXCEEDED"


async def test_an_export_with_a_stalled_reader_is_ended() -> None:
    given_up = asyncio.Event()

    async def export(_: object, __: Caller, write: Write) -> None:
        try:
            while True:
                await write(b"x" * 1_000_000)
        finally:
            given_up.set()

    async with serving(limits=CALL_LIMITS._replace(idle_seconds=0.01), ExportSession=export) as server:
        call = server.stub.ExportSession(pb.ExportSessionRequest(), metadata=authorization(WRITER))
        async with asyncio.timeout(30):
            await given_up.wait()
        call.cancel()


async def test_transfers_and_subscriptions_have_separate_limits() -> None:
    opened = asyncio.Event()

    async def stay(*_: object) -> None:
        opened.set()
        await asyncio.Event().wait()

    limits = CALL_LIMITS._replace(streams=StreamBounds(subscriptions=Bounds(1, 1), transfers=Bounds(1, 1)))
    async with serving(limits=limits, Subscribe=stay, ExportSession=stay) as server:
        for method in (server.stub.Subscribe, server.stub.ExportSession):
            opened.clear()
            held = method(session_id_of(method), metadata=authorization(WRITER))
            async with asyncio.timeout(30):
                await opened.wait()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method(session_id_of(method), metadata=authorization(WRITER)).read()
            assert reason_of(caught.value) == "TOO_MANY_STREAMS"
            assert not held.done()
        server.calls.streams.end_all()


def session_id_of(method: Any) -> Any:
    return pb.SubscribeRequest() if b"Subscribe" in method._method else pb.ExportSessionRequest()


async def test_a_bidirectional_method_responds_while_receiving() -> None:
    async def echo(requests: AsyncIterator[Any], _: Caller, write: Write) -> None:
        async for request in requests:
            outcome = commits_pb2.CommitOutcome(tag=request.commits[0].tag)
            await write(commits_pb2.StreamCommitsResponse(outcomes=[outcome]).SerializeToString())

    async with serving(StreamCommits=echo) as server:
        call: Any = server.channel.stream_stream(
            STREAM_COMMITS,
            request_serializer=commits_pb2.StreamCommitsRequest.SerializeToString,
            response_deserializer=commits_pb2.StreamCommitsResponse.FromString,
        )(metadata=authorization(WRITER))
        for tag in (1, 2):
            await call.write(commits_pb2.StreamCommitsRequest(commits=[commits_pb2.TaggedCommit(tag=tag)]))
            assert (await call.read()).outcomes[0].tag == tag
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("size", "in_loop"), [(OFF_LOOP_BYTES - 100, True), (OFF_LOOP_BYTES, False)], ids=["small", "large"]
)
async def test_a_large_request_is_converted_in_a_thread(size: int, in_loop: bool) -> None:
    def convert(request: pb.AddMessageRequest, /, *, tenant: str, limits: Limits) -> tuple[str, int]:
        return tenant, threading.get_ident()

    request = pb.AddMessageRequest(message=pb.Message(content="x" * size))
    tenant, thread = await read(convert, request, Caller("acme"), LIMITS)
    assert tenant == "acme"
    assert (thread == threading.get_ident()) is in_loop
