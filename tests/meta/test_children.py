"""What tests start ends with them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import HOST
from tests.support.server import SOURCES
from tests.support.waiting import eventually

# The server is used after the thread that started it has ended.
RUN = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.server import start_server

with ThreadPoolExecutor(1) as starter:
    server = starter.submit(start_server, Path(sys.argv[1])).result()

from sessions_client import Client

with Client(server.address) as client:
    client.ping()
print(server.port, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, SOURCES))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        yield process
        process.kill()


async def test_a_server_ends_when_the_run_that_started_it_is_killed(run: subprocess.Popen[bytes]) -> None:
    assert run.stdout is not None
    port = int(run.stdout.readline() or 0)
    assert port, "the server ended with the thread"

    async def is_served() -> bool:
        with socket.socket() as connection:
            return connection.connect_ex((HOST, port)) == 0

    assert await is_served()
    run.kill()
    assert not await eventually(is_served, lambda served: not served), "the server is still running"
