#!/usr/bin/env bash
# nginx: a gRPC error with more than 4 kB of details reaches the client as UNAVAILABLE, and is retried.
#
# One would expect the proxy to pass on whatever gRPC itself lets through: up to 8 kB of metadata by default. An error
# without a message is a response of headers alone, and nginx reads those into one buffer of `grpc_buffer_size`, a page
# of 4 kB. What does not fit is answered with nginx's own 502, which gRPC defines as UNAVAILABLE. So a validation error
# with a dozen field violations turns from INVALID_ARGUMENT, which is final, into the code that every client retries
# until its timeout, and the sentence that says what is wrong is lost. Short errors pass, so tests do. Keep code,
# message and details together below 4,000 bytes (binary details are sent as base64), and set `grpc_buffer_size 16k`.
# Debian keeps no older versions, so nginx's is printed and not pinned. Needs apt-get, as on Debian 12.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'grpcio==1.85.3'
(
    cd "$folder"
    apt-get --quiet --option APT::Sandbox::User=root download nginx > download.log 2>&1 ||
        { cat download.log; exit 1; }
    dpkg-deb --extract nginx_*.deb unpacked
)
export FOLDER="$folder"
GRPC_VERBOSITY=NONE "$folder/venv/bin/python" - <<'PYTHON'
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

FOLDER = Path(os.environ["FOLDER"])
NGINX = FOLDER / "unpacked/usr/sbin/nginx"
CONFIGURATION = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {setting}
    server {{
        listen 127.0.0.1:{port} http2;
        location / {{ grpc_pass grpc://127.0.0.1:{server}; }}
    }}
}}
"""


def refuse(request, context):
    context.set_trailing_metadata((("details-bin", bytes(int(request))),))
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The request has faults; the details name them.")


def start_nginx(server, setting):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = FOLDER / "nginx.conf"
    config.write_text(CONFIGURATION.format(folder=FOLDER, port=port, server=server, setting=setting))
    process = subprocess.Popen([NGINX, "-c", config, "-p", FOLDER])
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process, port
        except ConnectionRefusedError:
            time.sleep(0.05)


def error_through(port, size):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary("/test/Refuse")(str(size).encode())
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return "OK"


def main():
    print(subprocess.run([NGINX, "-v"], capture_output=True, text=True).stderr.strip(), "grpcio", grpc.__version__)
    server = grpc.server(ThreadPoolExecutor(4))
    method = grpc.unary_unary_rpc_method_handler(refuse)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Refuse": method}),))
    direct = server.add_insecure_port("127.0.0.1:0")
    server.start()
    found = []
    for size in (1_000, 4_000):
        found.append((f"direct, {size} bytes", error_through(direct, size)))
    for setting in ("", "grpc_buffer_size 16k;"):
        nginx, port = start_nginx(direct, setting)
        try:
            for size in (1_000, 4_000):
                what = f"nginx {setting}".strip(" ;")
                found.append((f"{what}, {size} bytes", error_through(port, size)))
        finally:
            nginx.terminate()
            nginx.wait()
    server.stop(None)
    for what, error in found:
        print(f"{what}: {error}")
    codes = [error.split(":")[0] for _, error in found]
    final = "INVALID_ARGUMENT"
    return codes == [final, final, final, "UNAVAILABLE", final, final]


sys.exit(0 if main() else "The behaviour has changed.")
PYTHON
