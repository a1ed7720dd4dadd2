#!/usr/bin/env bash
# grpc: two channels of one process to one address share a connection, and with it the limit on its streams.
#
# One would expect a second channel to be a second connection: a channel is what one closes, counts and puts into a
# pool. In fact channels with equal options share their subchannels, so the open streams of one channel use up the
# peer's MAX_CONCURRENT_STREAMS (128 at nginx, 100 at HAProxy) for every other channel, and a unary call on another
# channel waits for its deadline without any error. It matters as soon as long-lived streams and calls go to one server:
# "one channel for streams and one for calls" changes nothing, and tests with few streams do not show it. With
# `grpc.use_local_subchannel_pool` each channel has its own connection.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'grpcio==1.85.3'
GRPC_VERBOSITY=NONE "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import contextlib
import sys

import grpc

LIMIT = 4


async def quiet(request, context):
    yield b""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def echo(request, context):
    return request


async def call_beside_streams(options):
    """The result of a call on one channel while another has the maximum number of streams of a connection open."""
    server = grpc.aio.server(options=[("grpc.max_concurrent_streams", LIMIT)])
    methods = {
        "Quiet": grpc.unary_stream_rpc_method_handler(quiet),
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", methods),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with (
        grpc.aio.insecure_channel(address, options=options) as for_streams,
        grpc.aio.insecure_channel(address, options=options) as for_calls,
    ):
        streams = [for_streams.unary_stream("/test/Quiet")(b"") for _ in range(LIMIT)]
        for stream in streams:
            await stream.read()
        try:
            await for_calls.unary_unary("/test/Echo")(b"", timeout=2)
            outcome = "OK"
        except grpc.aio.AioRpcError as error:
            outcome = error.code().name
        for stream in streams:
            stream.cancel()
    await server.stop(0)
    return outcome


async def main():
    shared = await call_beside_streams([])
    apart = await call_beside_streams([("grpc.use_local_subchannel_pool", 1)])
    print(f"a call on a second channel beside {LIMIT} streams on the first: {shared}")
    print(f"the same with grpc.use_local_subchannel_pool: {apart}")
    return (shared, apart) == ("DEADLINE_EXCEEDED", "OK")


print("grpcio", grpc.__version__)
sys.exit(0 if asyncio.run(main()) else "The behaviour has changed.")
PYTHON
