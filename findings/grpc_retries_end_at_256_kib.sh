#!/usr/bin/env bash
# gRPC (C core: Python, C++, Ruby, PHP): a retry policy does not apply to requests of more than 256 KiB.
#
# One would expect `retryPolicy` in the service config to hold for every call of the method that it names, up to
# `maxAttempts`. gRPC keeps a request for a second attempt only while it fits into `grpc.per_rpc_retry_buffer_size`,
# 256 KiB by default; a larger one gets a single attempt, and nothing tells the client that its policy was left out. It
# matters to services whose requests grow: short turns of a conversation survive each restart of a server, and those
# with a long history or an image fail, so tests with small messages prove nothing. The buffer has to be as large as
# the largest request, which then stays in memory until its response begins.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'grpcio==1.85.3'
GRPC_VERBOSITY=NONE "$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc

POLICY = {
    "maxAttempts": 3,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
CONFIG = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": POLICY}]})
BUFFER = ("grpc.per_rpc_retry_buffer_size", 4 * 1024 * 1024)


def outcomes(options):
    """For each size of request, the status of a call whose first attempt fails, and how many attempts were made."""
    attempts = Counter()

    def put(request, context):
        attempts[len(request)] += 1
        if attempts[len(request)] == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "The server is restarting.")
        return b""

    server = grpc.server(ThreadPoolExecutor(4))
    method = grpc.unary_unary_rpc_method_handler(put)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Put": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    found = []
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.service_config", CONFIG), *options]) as channel:
        for size in (1_000, 250_000, 270_000, 1_000_000):
            try:
                channel.unary_unary("/test/Put")(bytes(size))
                status = "OK"
            except grpc.RpcError as error:
                status = error.code().name
            found.append((status, attempts[size]))
            print(f"{size:>9,} bytes: {status}, attempts: {attempts[size]}")
    server.stop(None)
    return found


print("grpcio", grpc.__version__)
default = outcomes([])
print(f"with {BUFFER[0]} of {BUFFER[1]:,}:")
larger = outcomes([BUFFER])
again, once = ("OK", 2), ("UNAVAILABLE", 1)
sys.exit(0 if default == [again, again, once, once] and larger == [again] * 4 else "The behaviour has changed.")
PYTHON
