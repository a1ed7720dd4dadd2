"""The limit set by gRPC itself: servers that do nothing, in a separate process, to compare ours with.

They are built like ours: only generic handlers, uvloop if installed, no interceptor, the same options.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TypeAlias

import grpc

from benchmarks.messages import ECHO_DATA, ECHO_HISTORY, SERVICE, STREAM_EVENT, history
from sessions_proto.v1 import sessions_pb2 as pb

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

OPTIONS = (("grpc.so_reuseport", 0),)
HISTORIES = {(count, data): history(count, data=data) for count in (10, 100) for data in (False, True)}


class RawStream:
    """Sends one pre-serialized event to every open stream for each call of `publish`."""

    def __init__(self) -> None:
        self._published = 0
        self._changed = asyncio.Event()

    async def publish(self, request: bytes, _: Context) -> bytes:
        self._published += 1
        self._changed.set()
        self._changed = asyncio.Event()
        return request

    async def subscribe(self, _: bytes, context: Context) -> None:
        seen = self._published
        await context.write(b"")
        while True:
            changed = self._changed
            while seen < self._published:
                await context.write(STREAM_EVENT)
                seen += 1
            await changed.wait()


async def echo(request: pb.AddMessageRequest, _: Context) -> pb.AddMessageResponse:
    return pb.AddMessageResponse(message=request.message)


async def echo_history(request: pb.GetHistoryRequest, _: Context) -> pb.GetHistoryResponse:
    return HISTORIES[request.limit, False]


async def echo_data(request: pb.GetHistoryRequest, _: Context) -> pb.GetHistoryResponse:
    return HISTORIES[request.limit, True]


def handlers() -> grpc.GenericRpcHandler:
    stream = RawStream()
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Echo": grpc.unary_unary_rpc_method_handler(
                echo, pb.AddMessageRequest.FromString, pb.AddMessageResponse.SerializeToString
            ),
            ECHO_HISTORY: grpc.unary_unary_rpc_method_handler(
                echo_history, pb.GetHistoryRequest.FromString, pb.GetHistoryResponse.SerializeToString
            ),
            ECHO_DATA: grpc.unary_unary_rpc_method_handler(
                echo_data, pb.GetHistoryRequest.FromString, pb.GetHistoryResponse.SerializeToString
            ),
            "Publish": grpc.unary_unary_rpc_method_handler(stream.publish),
            "Subscribe": grpc.unary_stream_rpc_method_handler(stream.subscribe),
        },
    )


async def serve() -> None:
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sys.stdout.write(f"listening on 127.0.0.1:{port}\n")
    sys.stdout.flush()
    await stop.wait()
    await server.stop(0)


def event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def main() -> None:
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
