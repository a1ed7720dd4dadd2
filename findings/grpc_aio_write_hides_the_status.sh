#!/usr/bin/env bash
# grpc.aio: when a server refuses a stream of requests early, `write` raises INTERNAL in place of the server's status.
#
# One would expect the error of a failed `call.write` to carry the status that the server sent, as every other error of
# a call does and as in the synchronous interface. It says INTERNAL, "Internal error from Core". Only awaiting the call
# itself returns the real status, here FAILED_PRECONDITION, and in a few calls of a hundred not even that. It matters
# wherever the code decides what happens next: an upload that is refused for its size, its token or a quota looks like a
# bug of the server, and is repeated or reported as one. After a failed write, ask the call and not the exception.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'grpcio==1.85.3'
GRPC_VERBOSITY=NONE "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import sys
from collections import Counter

import grpc

REQUEST = b"x" * 100_000
REQUESTS, CALLS = 50, 40


async def refuse(requests, context):
    async for _ in requests:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")


async def fails(work):
    """The code of the error raised by the work."""
    try:
        await work
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


async def write_all(call):
    for _ in range(REQUESTS):
        await call.write(REQUEST)
    await call.done_writing()


async def end_of(call):
    await call


async def main():
    server = grpc.aio.server()
    method = grpc.stream_unary_rpc_method_handler(refuse)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Upload": method}),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    writes, calls, synchronous = Counter(), Counter(), Counter()
    async with grpc.aio.insecure_channel(address) as channel:
        for _ in range(CALLS):
            call = channel.stream_unary("/test/Upload")()
            writes[await fails(write_all(call))] += 1
            calls[await fails(end_of(call))] += 1
    with grpc.insecure_channel(address) as channel:
        upload = channel.stream_unary("/test/Upload")
        for _ in range(CALLS):
            work = asyncio.to_thread(upload, iter([REQUEST] * REQUESTS))
            synchronous[await fails(work)] += 1
    await server.stop(0)
    print("grpc.aio, the error of write:    ", dict(writes))
    print("grpc.aio, the error of the call: ", dict(calls))
    print("grpc, the error of the call:     ", dict(synchronous))
    return (
        writes["INTERNAL"] > CALLS / 2
        and calls["FAILED_PRECONDITION"] > CALLS / 2
        and synchronous["FAILED_PRECONDITION"] == CALLS
    )


print("grpcio", grpc.__version__)
sys.exit(0 if asyncio.run(main()) else "The behaviour has changed.")
PYTHON
