#!/usr/bin/env bash
# grpc: with `http_proxy` set, a list of addresses goes to the proxy even where `no_proxy` names every one of them.
#
# One would expect `no_proxy=127.0.0.1` to apply to `ipv4:127.0.0.1:50051,127.0.0.1:50052` as it does to
# `ipv4:127.0.0.1:50051`. gRPC compares `no_proxy` with the list as a whole, finds no match, and asks the proxy to
# CONNECT to a host whose name is the list, at port 443. It matters in company networks and in CI, where the variable is
# set for package downloads: a client that works with one address fails when a second replica is added, and the error
# does not mention the proxy. A client with a list of addresses has to turn the proxy off (`grpc.enable_http_proxy=0`).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'grpcio==1.85.3'
GRPC_VERBOSITY=NONE "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import os
import re
import sys

import grpc


async def echo(request, context):
    return request


async def main():
    asked = []

    async def proxy(reader, writer):
        asked.append(re.sub(r":\d{5}|:\d{4}", ":PORT", (await reader.readline()).decode().strip()))
        writer.close()

    listener = await asyncio.start_server(proxy, "127.0.0.1", 0)
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Echo": method}),))
    ports = [server.add_insecure_port("127.0.0.1:0") for _ in range(2)]
    await server.start()
    os.environ["http_proxy"] = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    os.environ["no_proxy"] = "127.0.0.1"
    one, both = f"ipv4:127.0.0.1:{ports[0]}", f"ipv4:127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}"
    found = []
    for what, target, options in (
        ("one address", one, []),
        ("two addresses", both, []),
        ("two addresses without a proxy", both, [("grpc.enable_http_proxy", 0)]),
    ):
        asked.clear()
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            try:
                await channel.unary_unary("/test/Echo")(b"", timeout=5)
                outcome = "OK"
            except grpc.aio.AioRpcError as error:
                outcome = error.code().name
        print(f"{what}: {outcome}; the proxy was asked: {asked[:1] or 'nothing'}")
        found.append((outcome, bool(asked)))
    await server.stop(0)
    listener.close()
    return found == [("OK", False), ("UNAVAILABLE", True), ("OK", False)]


print("grpcio", grpc.__version__)
sys.exit(0 if asyncio.run(main()) else "The behaviour has changed.")
PYTHON
