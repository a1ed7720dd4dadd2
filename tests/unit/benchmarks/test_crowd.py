"""The crowd counts what a gRPC server really sent: a miscounting benchmark would be worse than none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest

from benchmarks.crowd import WAVE, crowd
from benchmarks.echo_server import handlers
from benchmarks.load import BenchmarkError
from benchmarks.messages import SERVICE, STREAM_EVENT
from sessions_proto.v1 import sessions_pb2 as pb

LARGE = bytes(range(256)) * 1_000
Context = grpc.aio.ServicerContext[bytes, bytes]
Publish = Callable[[], Awaitable[bytes]]


async def _large(_: bytes, context: Context) -> None:
    await context.write(b"")
    await context.write(LARGE)
    await context.write(b"after")
    await asyncio.Event().wait()


async def _ending(_: bytes, context: Context) -> None:
    await context.write(b"")


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = grpc.aio.server()
    streams = {"Large": _large, "Ending": _ending}
    more: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        name: grpc.unary_stream_rpc_method_handler(run) for name, run in streams.items()
    }
    server.add_generic_rpc_handlers((handlers(), grpc.method_handlers_generic_handler("streams", more)))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
async def publish(address: str) -> AsyncIterator[Publish]:
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/Publish")
        yield lambda: call(b"")


def requests(count: int) -> list[pb.SubscribeRequest]:
    return [pb.SubscribeRequest(session_id="any")] * count


async def test_every_event_is_counted_once_for_every_stream(address: str, publish: Publish) -> None:
    streams = WAVE + 1
    with crowd() as listening:
        await listening.subscribe(address, f"{SERVICE}/Subscribe", requests(streams))
        assert listening.received == streams
        for published in (1, 2):
            await publish()
            await listening.until(streams * (1 + published))


async def test_listeners_receive_each_message_as_sent(address: str, publish: Publish) -> None:
    received: list[bytes] = []
    with crowd(on_message=received.append) as listening:
        await listening.subscribe(address, f"{SERVICE}/Subscribe", requests(1))
        await publish()
        await listening.until(2)
    assert received == [b"", STREAM_EVENT]


async def test_a_message_split_into_many_frames_counts_once(address: str) -> None:
    received: list[bytes] = []
    with crowd(on_message=received.append) as listening:
        await listening.subscribe(address, "streams/Large", requests(1))
        await listening.until(3)
    assert received == [b"", LARGE, b"after"]


async def test_a_stream_that_ends_fails_the_measurement(address: str) -> None:
    with crowd() as listening:
        await listening.subscribe(address, "streams/Ending", requests(1))
        with pytest.raises(BenchmarkError, match="ended a subscription"):
            await listening.until(2)
