"""Unary calls to the server of a database file: large and cancelled ones, and what a kill, a fork or a close meets."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessions_client import AsyncClient, Client, DeadlineExceeded, ResourceExhausted
from tests.faults.embedded.serving import servers
from tests.support.flavours import FLAVOURS, open_client

if TYPE_CHECKING:
    import psutil

CALLERS = 64
THREADS = 16
LARGE = "x" * 256 * 1024
PATIENCE_SECONDS = 120

flavours = pytest.mark.parametrize("flavour", FLAVOURS)


@contextmanager
def frozen(database: Path) -> Iterator[psutil.Process]:
    """The server, not running while the context lasts."""
    (server,) = servers(database)
    server.suspend()
    try:
        yield server
    finally:
        server.resume()


@flavours
async def test_requests_and_responses_may_be_as_large_as_any(flavour: str) -> None:
    async with open_client(flavour, ":memory:") as client:
        session = await client.sessions.create(user_id="u1")
        messages = [{"role": "user", "content": LARGE}] * 15
        added = await client.sessions.add_messages(session.id, messages=messages)
        assert [message.content for message in added] == [LARGE] * 15
        with pytest.raises(ResourceExhausted, match="4 MiB"):
            await client.sessions.add_messages(session.id, messages=[*messages, messages[0]])
        assert len(await client.sessions.get_history(session.id, limit=100)) == 15


@flavours
async def test_calls_of_a_server_that_hangs_end_by_their_timeout_or_with_their_client(
    flavour: str, database: Path
) -> None:
    client = open_client(flavour, database, timeout=PATIENCE_SECONDS)
    session = await client.sessions.create(user_id="u1")
    with frozen(database), pytest.raises(DeadlineExceeded):
        await client.sessions.get(session.id, timeout=0.05)
    assert (await client.sessions.get(session.id)).id == session.id
    with frozen(database):
        calling = [asyncio.ensure_future(client.sessions.get(session.id)) for _ in range(4)]
        done, _ = await asyncio.wait(calling, timeout=0.05)
        assert not done
        await client.close()
        for call in calling:
            with pytest.raises(RuntimeError, match="This client is closed"):
                await call


async def test_each_call_ends_by_its_own_timeout(database: Path) -> None:
    async with AsyncClient(database, timeout=PATIENCE_SECONDS) as client:
        session = await client.sessions.create(user_id="u1")
        with frozen(database):
            patient = asyncio.create_task(client.sessions.get(session.id))
            await asyncio.sleep(0)  # it is sent first
            hurried = [client.sessions.get(session.id, timeout=0.1 - 0.02 * number) for number in range(4)]
            ended = await asyncio.gather(*hurried, return_exceptions=True)
            assert [type(each) for each in ended] == [DeadlineExceeded] * 4
            assert not patient.done()
        assert (await patient).id == session.id


async def test_a_cancelled_call_leaves_the_others_on_its_connection(database: Path) -> None:
    async with AsyncClient(database, timeout=PATIENCE_SECONDS) as client:
        session = await client.sessions.create(user_id="u1")
        with frozen(database):
            adding = [
                asyncio.create_task(client.sessions.add_message(session.id, role="user", content=str(number)))
                for number in range(CALLERS)
            ]
            await asyncio.sleep(0)  # all are sent
            adding[7].cancel()
            await asyncio.wait({adding[7]})
        added = await asyncio.gather(*adding, return_exceptions=True)
        assert isinstance(added.pop(7), asyncio.CancelledError)
        history = await client.sessions.get_history(session.id, limit=CALLERS)
        assert {message.content for message in history} >= {str(each) for each in range(CALLERS)} - {"7"}


async def test_a_kill_among_many_calls_loses_and_repeats_none(database: Path) -> None:
    async with AsyncClient(database, timeout=PATIENCE_SECONDS) as client:
        session = await client.sessions.create(user_id="u1")

        async def add(number: int) -> None:
            for step in range(5):
                await client.sessions.add_message(session.id, role="user", content=f"{number}-{step}")

        adding = asyncio.gather(*(add(number) for number in range(CALLERS)))
        for _ in range(2):
            while not (running := servers(database)):  # noqa: ASYNC110  # a call in progress starts it
                await asyncio.sleep(0)
            running[0].send_signal(signal.SIGKILL)
            await client.sessions.get(session.id)
        await adding
        history = await client.sessions.get_history(session.id, limit=1000)
    wanted = [f"{number}-{step}" for number in range(CALLERS) for step in range(5)]
    assert sorted(message.content for message in history) == sorted(wanted)


def test_threads_with_one_client_survive_a_kill(database: Path) -> None:
    with Client(database, timeout=PATIENCE_SECONDS) as client, ThreadPoolExecutor(THREADS) as threads:
        session = client.sessions.create(user_id="u1")
        halfway = threading.Barrier(THREADS + 1)

        def add(number: int) -> None:
            for step in range(6):
                client.sessions.add_message(session.id, role="user", content=f"{number}-{step}")
                if step == 2:
                    halfway.wait()

        adding = [threads.submit(add, number) for number in range(THREADS)]
        halfway.wait()
        servers(database)[0].send_signal(signal.SIGKILL)
        for each in adding:
            each.result()
        history = client.sessions.get_history(session.id, limit=1000)
    wanted = [f"{number}-{step}" for number in range(THREADS) for step in range(6)]
    assert sorted(message.content for message in history) == sorted(wanted)


FORKING = """
import os, sys
from sessions_client import Client

client = Client(sys.argv[1])
session = client.sessions.create(user_id="u1")
child = os.fork()
for number in range(100):
    content = f"{'parent' if child else 'child'}-{number}"
    assert client.sessions.add_message(session.id, role="user", content=content).content == content
if not child:
    client.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
print(*sorted(message.content for message in client.sessions.get_history(session.id, limit=200)))
client.close()
"""


def test_a_forked_child_makes_connections_of_its_own(database: Path, tmp_path: Path) -> None:
    program = tmp_path / "forking.py"
    program.write_text(FORKING)
    command = [sys.executable, str(program), str(database)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(
        f"{who}-{number}" for who in ("parent", "child") for number in range(100)
    )


CLOSING = """
import asyncio, os, sys
from sessions_client import AsyncClient, Client

path, flavour, child = *sys.argv[1:], 0
keeper = Client(path)  # so that the server stays
keeper.sessions.create(user_id="u1")

def fork():
    global child
    child = os.fork()
    if not child:
        sys.stdin.read()  # until the test has seen enough
        os._exit(0)

async def use():
    async with AsyncClient(path) as client:
        await client.sessions.create(user_id="u1")
        fork()

if flavour == "async":
    asyncio.run(use())
else:
    with Client(path) as client:
        client.sessions.create(user_id="u1")
        fork()
print("closed", flush=True)
os.waitpid(child, 0)
keeper.close()
"""


LISTENER_AND_KEEPER = 2


@flavours
def test_a_forked_child_does_not_keep_the_parent_s_connections_open(
    flavour: str, database: Path, tmp_path: Path
) -> None:
    program = tmp_path / "closing.py"
    program.write_text(CLOSING)
    command = [sys.executable, "-W", "ignore", str(program), str(database), flavour]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "closed\n"
        (server,) = servers(database)
        until = time.monotonic() + PATIENCE_SECONDS
        while local_sockets(server) > LISTENER_AND_KEEPER:
            assert time.monotonic() < until, "the connection stays open"
            time.sleep(0.01)
        running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 0


def local_sockets(server: psutil.Process) -> int:
    """How many sockets for unary calls it has: the one that listens, and the connections."""
    return sum(str(each.laddr).endswith(".call") for each in server.net_connections("unix"))


def test_several_loops_may_use_one_client_and_leave_nothing_open() -> None:
    def use_and_close() -> None:
        client = AsyncClient(":memory:")
        with ThreadPoolExecutor(4) as threads:
            for running in [threads.submit(asyncio.run, use(client)) for _ in range(4)]:
                running.result()
        asyncio.run(client.close())

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        use_and_close()
        gc.collect()


async def use(client: AsyncClient) -> None:
    session = await client.sessions.create(user_id="u1")
    await asyncio.gather(*(client.sessions.get(session.id) for _ in range(CALLERS)))
