#!/usr/bin/env bash
# gRPC: `grpc.keepalive_timeout_ms` does not end a dead connection; a second option, a minute by default, does.
#
# One would expect a connection to be given up `keepalive_timeout_ms` after a ping without an answer: this is how the
# option is documented, and programs set it to a few seconds to notice a server that has lost power or network. With
# grpcio 1.85 the connection ends only when `grpc.http2.ping_timeout_ms` has passed too, which is 60,000 by default and
# which no guide to keepalive names. So a stream to a machine that fell silent stays open a minute longer than
# configured, and reads from it wait that long. Set both. Takes about a minute and a half.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'grpcio==1.85.3'
cat > "$folder/server.py" <<'PYTHON'
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc


def follow(request, context):
    yield b"first"
    threading.Event().wait()


server = grpc.server(ThreadPoolExecutor(4))
method = grpc.unary_stream_rpc_method_handler(follow)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Follow": method}),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
PYTHON
cat > "$folder/program.py" <<'PYTHON'
import signal
import subprocess
import sys
import time

import grpc

KEEPALIVE = [("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 2_000)]
PING = [("grpc.http2.ping_timeout_ms", 2_000)]


def noticed_after(options):
    """The seconds until a stream ends whose server is stopped, as one is on a machine without network."""
    with subprocess.Popen([sys.executable, sys.argv[1]], stdout=subprocess.PIPE, text=True) as server:
        try:
            with grpc.insecure_channel(f"127.0.0.1:{int(server.stdout.readline())}", options) as channel:
                stream = channel.unary_stream("/test/Follow")(b"")
                next(stream)
                server.send_signal(signal.SIGSTOP)
                began = time.monotonic()
                try:
                    next(stream)
                except grpc.RpcError as error:
                    return time.monotonic() - began, f"{error.code().name}: {error.details()}"
        finally:
            server.kill()


print("grpcio", grpc.__version__)
keepalive, both = noticed_after(KEEPALIVE), noticed_after(KEEPALIVE + PING)
print(f"keepalive of 10 s with a timeout of 2 s: {keepalive[0]:.0f} s, {keepalive[1]}")
print(f"and a ping timeout of 2 s: {both[0]:.0f} s, {both[1]}")
sys.exit(0 if keepalive[0] > 50 and both[0] < 25 else "The behaviour has changed.")
PYTHON
"$folder/venv/bin/python" "$folder/program.py" "$folder/server.py"
