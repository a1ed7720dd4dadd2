#!/usr/bin/env bash
# grpc.aio: a server whose event loop was busy for half a minute answers the calls that waited with CANCELLED.
#
# One would expect a call that has arrived to wait until the server takes it, or until its own deadline. gRPC's core
# drops a call that the application has not requested within 30 seconds, long before the caller's deadline. The caller
# did not cancel, and yet gets CANCELLED: a code that retry policies leave out, since it says that the caller gave up,
# and that servers do not count as their own failure. The server's own code never sees the call, so that its log and its
# metrics show nothing. It matters where a thousand clients come back at once after a restart. The time is set by the
# channel argument `grpc.server_max_unrequested_time_in_server` (seconds). Takes about a minute and a half.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'grpcio==1.85.3'
cat > "$folder/server.py" <<'PYTHON'
import asyncio
import json
import sys
import time

import grpc


async def echo(request, context):
    return request


async def block(request, context):
    time.sleep(float(request))  # what the loop is busy with
    return b""


async def main():
    server = grpc.aio.server(options=[tuple(option) for option in json.loads(sys.argv[1])])
    methods = {"Echo": echo, "Block": block}
    handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())
PYTHON
cat > "$folder/program.py" <<'PYTHON'
import json
import subprocess
import sys
import threading
from collections import Counter

import grpc

LONGER = [["grpc.server_max_unrequested_time_in_server", 300]]


def outcomes(busy_seconds, options):
    """How twenty calls with a deadline of two minutes end, sent while the server is busy."""
    command = [sys.executable, sys.argv[1], json.dumps(options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            with grpc.insecure_channel(f"127.0.0.1:{int(server.stdout.readline())}") as channel:
                echo, block = channel.unary_unary("/test/Echo"), channel.unary_unary("/test/Block")
                echo(b"")
                blocked = block.future(str(busy_seconds).encode())
                threading.Event().wait(1)
                waiting = [echo.future(b"", timeout=120) for _ in range(20)]
                ends = Counter(call.code().name for call in waiting)
                blocked.result()
                return ends
        finally:
            server.terminate()


print("grpcio", grpc.__version__)
found = [outcomes(5, []), outcomes(33, []), outcomes(33, LONGER)]
for what, ends in zip(("busy for 5 s", "busy for 33 s", "busy for 33 s, with the option"), found, strict=True):
    print(f"{what}: {dict(ends)}")
same = set(found[0]) == {"OK"} and found[1]["CANCELLED"] >= 15 and set(found[2]) == {"OK"}
sys.exit(0 if same else "The behaviour has changed.")
PYTHON
"$folder/venv/bin/python" "$folder/program.py" "$folder/server.py"
