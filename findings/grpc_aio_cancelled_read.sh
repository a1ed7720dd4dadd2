#!/usr/bin/env bash
# grpc.aio: a read of a stream that is cancelled cancels the whole call.
#
# One would expect `asyncio.wait_for(call.read(), 0.05)` to give up one read and leave the stream to the next, as it
# does with `asyncio.Queue.get` or `StreamReader.read`. Instead the timeout cancels the RPC: the next read raises
# CancelledError, although the server is still sending. It matters to programs that have something to do while a stream
# is quiet, such as a keep-alive for a browser: the obvious code ends the stream at the first quiet moment, and messages
# on their way are lost. A read has to run in a separate task, which is kept across timeouts; the same holds for
# `asyncio.timeout` and for `anext` of the call's iterator.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'grpcio==1.85.3'
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import sys

import grpc


async def numbers(request, context):
    yield b"1"
    await go_on.wait()
    yield b"2"


async def outcome(read):
    try:
        return (await read).decode()
    except asyncio.CancelledError:
        return "CancelledError"


async def main():
    global go_on
    server = grpc.aio.server()
    method = grpc.unary_stream_rpc_method_handler(numbers)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Numbers": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    found = {}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for how in ("the read itself", "a task that is kept"):
            go_on = asyncio.Event()
            call = channel.unary_stream("/test/Numbers")(b"")
            await call.read()
            read = call.read() if how == "the read itself" else asyncio.ensure_future(call.read())
            waits = read if how == "the read itself" else asyncio.shield(read)
            try:
                await asyncio.wait_for(waits, 0.05)
            except TimeoutError:
                pass
            go_on.set()
            found[how] = await outcome(call.read() if how == "the read itself" else read)
            print(f"wait_for on {how}, then the next message: {found[how]}")
            call.cancel()
    await server.stop(0)
    return found == {"the read itself": "CancelledError", "a task that is kept": "2"}


print("grpcio", grpc.__version__)
sys.exit(0 if asyncio.run(main()) else "The behaviour has changed.")
PYTHON
