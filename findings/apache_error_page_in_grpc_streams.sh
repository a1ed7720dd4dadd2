#!/usr/bin/env bash
# Apache httpd (mod_proxy_http2): when the server behind it dies, an open gRPC stream receives a page of HTML.
#
# One would expect a proxy that has already passed on a response's headers and messages to reset the stream when the
# server dies: nothing else can tell the client that the response is broken. Apache continues to write. The error page
# that it makes for a response of its own arrives as DATA of the gRPC response, and the stream then ends regularly and
# without trailers. It matters because the client reports UNKNOWN (grpcio: "Stream removed"), where a connection that
# breaks is UNAVAILABLE: programs that repeat only what is UNAVAILABLE, as gRPC's retry policies usually do, fail.
# Debian keeps no older versions, so the version is printed and not pinned. Needs apt-get, as on Debian 12.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'grpcio==1.85.3' 'h2==4.3.0'
(
    cd "$folder"
    apt-get --quiet --option APT::Sandbox::User=root download apache2-bin libapr1 libaprutil1 > download.log 2>&1 ||
        { cat download.log; exit 1; }
    for package in *.deb; do dpkg-deb --extract "$package" unpacked; done
)
export LD_LIBRARY_PATH="$folder/unpacked/usr/lib/$(uname -m)-linux-gnu"
export FOLDER="$folder"
GRPC_VERBOSITY=NONE "$folder/venv/bin/python" - <<'PYTHON'
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import h2.config
import h2.connection
import h2.events

FOLDER = Path(os.environ["FOLDER"])
APACHE = FOLDER / "unpacked/usr/sbin/apache2"
METHOD = "/test/Follow"
SERVER = """
import sys, threading
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
"""
CONFIGURATION = """
ServerRoot "{folder}"
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {folder}/pid
ErrorLog {folder}/error.log
{modules}
Protocols h2c
ProxyPass / h2c://127.0.0.1:{server}/
"""


def start_server():
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


def start_apache(server):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    names = ("mpm_event", "authz_core", "http2", "proxy", "proxy_http2")
    modules = "\n".join(
        f"LoadModule {name}_module {FOLDER}/unpacked/usr/lib/apache2/modules/mod_{name}.so" for name in names
    )
    config = FOLDER / "apache.conf"
    config.write_text(CONFIGURATION.format(folder=FOLDER, port=port, server=server, modules=modules))
    process = subprocess.Popen([APACHE, "-f", config, "-D", "FOREGROUND"])
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process, port
        except ConnectionRefusedError:
            time.sleep(0.05)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def raw_end(port, server):
    """What follows in the stream when the server is killed after the first message: body, trailers, and how it ends."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    with socket.create_connection(("127.0.0.1", port)) as wire:
        connection.initiate_connection()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", METHOD)]
        connection.send_headers(1, [*head, ("content-type", "application/grpc"), ("te", "trailers")])
        connection.send_data(1, bytes(5), end_stream=True)
        wire.sendall(connection.data_to_send())
        body, trailers, killed = b"", [], False
        while chunk := wire.recv(65536):
            for event in connection.receive_data(chunk):
                if isinstance(event, h2.events.DataReceived):
                    body += event.data
                if isinstance(event, h2.events.TrailersReceived):
                    trailers = event.headers
                if isinstance(event, h2.events.StreamReset):
                    return body[10:], trailers, "reset"
                if isinstance(event, h2.events.StreamEnded):
                    return body[10:], trailers, "ended regularly"
            wire.sendall(connection.data_to_send())
            if not killed and len(body) >= 10:  # the first message: five bytes, and five before them
                kill(server)
                killed = True
    return body[10:], trailers, "connection closed"


def error_of_client(port, server):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_stream(METHOD)(b"")
        next(call)
        kill(server)
        try:
            next(call)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def main():
    print(subprocess.run([APACHE, "-v"], capture_output=True, text=True).stdout.splitlines()[0])
    print("grpcio", grpc.__version__)
    found = []
    for look in (raw_end, error_of_client):
        server, server_port = start_server()
        apache, port = start_apache(server_port)
        try:
            found.append(look(port, server))
        finally:
            kill(server)
            apache.terminate()
            apache.wait()
    (rest, trailers, end), (code, details) = found
    print("after the first message:", rest[:60])
    print("trailers:", trailers, "- the stream", end)
    print("grpcio reports:", code, "-", details)
    return rest.startswith(b"<!DOCTYPE HTML") and not trailers and end == "ended regularly" and code != "UNAVAILABLE"


sys.exit(0 if main() else "The behaviour has changed.")
PYTHON
