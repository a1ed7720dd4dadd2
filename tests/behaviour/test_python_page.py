"""docs/python.md: the clients in programs with several processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import textwrap
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessions_client import AsyncClient, Client
from tests.meta.readme import DEFAULT_ADDRESS, blocks
from tests.meta.tree import text_of
from tests.support.ports import HOST, free_port
from tests.support.server import SOURCES, Server, start_server

CHILD_SECONDS = 60
KEEP_ALIVE = ": keep-alive\n\n"
PAGE = text_of(Path("docs/python.md"))


def block(about: str, *, address: str = DEFAULT_ADDRESS) -> str:
    """The only program of the page that contains `about`, for a server at the address."""
    [text] = [each.text for each in blocks(PAGE) if about in each.text]
    return text.replace(DEFAULT_ADDRESS, address)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


def program(text: str, *arguments: str, first: str = "") -> str:
    """The output of a program in its own process, which begins with `first`: the tests' process must not fork."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, SOURCES))}
    done = subprocess.run(
        [sys.executable, "-c", first + HEAD + text, *arguments],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        timeout=CHILD_SECONDS,
        check=True,
    )
    return done.stdout


HEAD = """
import asyncio, os, sys
from sessions_client import AsyncClient, Client

address = sys.argv[1]


def in_child(use):
    sys.stdout.flush()
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
        return
    try:
        print(use())
    except RuntimeError as error:
        print(error)
    sys.stdout.flush()
    os._exit(0)


async def state(client, session):
    return (await client.sessions.get(session)).state
"""

WITH_SUBSCRIPTIONS = """
with Client(address) as client:
    session = client.sessions.create("u").id
    events = client.sessions.subscribe(session, after_sequence=0)
    received = []
    background = client.sessions.subscribe(session, callback=received.append)
    print(next(events).type)
    in_child(lambda: client.sessions.get(session).state)
    in_child(lambda: next(client.sessions.subscribe(session, after_sequence=0)).type)
    in_child(lambda: next(events))
    in_child(lambda: background.wait())
    in_child(lambda: (events.close(), client.close()))
    client.sessions.start(session)
    print(next(events).type)
    background.close()
    events.close()
"""


def test_a_child_forked_with_an_open_subscription_gets_its_own_connection(server: Server) -> None:
    belongs = "This subscription was opened before its process was forked; subscribe again in the child."
    assert program(WITH_SUBSCRIPTIONS, server.address).splitlines() == [
        "created",
        "created",
        "created",
        belongs,
        belongs,
        "(None, None)",
        "state_change",
    ]


ASYNCHRONOUS = """
client, unused = AsyncClient(address), AsyncClient(address)
with Client(address) as synchronous:
    session = synchronous.sessions.create("u").id
in_child(lambda: asyncio.run(state(client, session)))
with asyncio.Runner() as runner:
    print(runner.run(state(client, session)))
    in_child(lambda: asyncio.run(state(client, session)))
    in_child(lambda: asyncio.run(state(unused, session)))
    in_child(lambda: asyncio.run(state(AsyncClient(address), session)))
    print(runner.run(state(client, session)))
    runner.run(client.close())
in_child(lambda: asyncio.run(state(AsyncClient(address), session)))
"""


DATABASE_FILE = """
with Client(address) as client:
    session = client.sessions.create("u").id
    in_child(lambda: client.sessions.start(session).state)
    print(client.sessions.pause(session).state)
"""


def test_a_forked_child_uses_the_database_file_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        assert program(DATABASE_FILE, str(tmp_path / "chat.db")).split() == ["active", "paused"]


def test_an_asynchronous_client_reports_that_it_cannot_survive_a_fork(server: Server) -> None:
    lines = program(ASYNCHRONOUS, server.address).splitlines()
    assert [line.partition(" was forked")[0] for line in lines] == [
        "created",
        "created",
        *["An AsyncClient was in use when this process"] * 3,
        "created",
        "created",
    ]
    assert "spawn" in lines[2]


UNUSED = """
before = os.listdir("/proc/self/task")
with Client(address) as client, Client("sessions.test:443", tls=True) as encrypted:
    print(os.listdir("/proc/self/task") == before)
    print(client.sessions.create("u").state)
"""


def test_a_client_starts_no_threads_before_its_first_call(server: Server) -> None:
    """A process that makes a client and then forks leaves its children no half-finished work of gRPC's threads."""
    assert program(UNUSED, server.address).splitlines() == ["True", "created"]


def get(address: str, session: str, answers: multiprocessing.SimpleQueue[str]) -> None:
    with Client(address) as client:
        answers.put(client.sessions.get(session).id)


def test_a_spawned_process_creates_its_own_clients(server: Server) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    with Client(server.address) as client:
        session = client.sessions.create("u").id
        process = context.Process(target=get, args=(server.address, session, answers))
        process.start()
        assert answers.get() == session
        process.join()


APPLICATION = """
import os
from sessions_client import Client

parents = Client({address!r})
session = parents.sessions.create("u").id


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    got = [each.sessions.get(session).id for each in (parents, client)]
    return [f"{{os.getpid()}} {{got == [session, session]}}".encode()]
"""


def test_gunicorns_preloaded_workers_use_the_client_of_their_parent_and_the_pages(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "myapp.py").write_text(APPLICATION.format(address=server.address))
    (tmp_path / "gunicorn.conf.py").write_text(block("post_fork", address=server.address))
    listen = f"{HOST}:{free_port()}"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*SOURCES, tmp_path)))}
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--preload",
        "--workers",
        "2",
        "--bind",
        listen,
        "myapp",
    ]
    with subprocess.Popen(command, env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as gunicorn:
        try:
            assert gunicorn.stderr is not None
            booted = 0
            while booted < 2:
                line = gunicorn.stderr.readline()
                assert line, "gunicorn has ended"
                booted += "Booting worker" in line
            for _ in range(6):
                with urllib.request.urlopen(f"http://{listen}/") as answer:
                    worker, got = answer.read().decode().split()
                assert got == "True"
                assert int(worker) != gunicorn.pid
        finally:
            gunicorn.terminate()


TASKS = """
import os
from pathlib import Path

from celery import Celery
from sessions_client import Client

address, folder = {address!r}, Path(__file__).parent
queue = str(folder)
app = Celery("tasks", broker="filesystem://", backend=f"file://{{folder}}")
app.conf.broker_transport_options = {{
    "data_folder_in": queue, "data_folder_out": queue, "control_folder": queue
}}
before = Client(address)
session = before.sessions.create("u").id
events = before.sessions.subscribe(session, after_sequence=0)
next(events)


@app.task(name="states")
def states():
    return os.getpid(), [each.sessions.get(session).state for each in (before, client)]
"""
SEND = """
import tasks

results = [tasks.states.delay() for _ in range(6)]
for result in results:
    print(*result.get(timeout=60))
"""


def test_celerys_forked_workers_use_the_client_of_their_parent_and_the_pages(
    server: Server, tmp_path: Path
) -> None:
    """The parent has made calls and has an open subscription."""
    (tmp_path / "tasks.py").write_text(
        block("worker_process_init", address=server.address) + TASKS.format(address=server.address)
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*SOURCES, tmp_path)))}
    options = (
        "--pool=prefork",
        "--concurrency=2",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
    )
    command = [sys.executable, "-m", "celery", "--app=tasks", "--quiet", "worker", *options]
    with subprocess.Popen(command, env=env, cwd=tmp_path) as celery:
        try:
            sent = subprocess.run(
                [sys.executable, "-c", SEND],
                env=env,
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                text=True,
                timeout=CHILD_SECONDS,
                check=True,
            )
        finally:
            celery.send_signal(signal.SIGQUIT)
    workers = [line.partition(" ") for line in sent.stdout.splitlines()]
    assert [states for _, _, states in workers] == ["['created', 'created']"] * 6
    assert celery.pid not in {int(worker) for worker, _, _ in workers}


COOPERATING = """
import gevent

waits = gevent.event.Event()


def listen(events):
    waits.set()
    print(next(events).type)


def start(client, session):
    waits.wait()
    print("waits")
    client.sessions.start(session)


with Client(address) as client:
    session = client.sessions.create("u").id
    with client.sessions.subscribe(session) as events:
        gevent.joinall([gevent.spawn(listen, events), gevent.spawn(start, client, session)], raise_error=True)
    jobs = [gevent.spawn(client.sessions.get, session) for _ in range(20)]
    print({str(job.get().state) for job in jobs})
"""


def test_under_gevent_a_waiting_greenlet_blocks_no_other(server: Server) -> None:
    printed = program(COOPERATING, server.address, first=block("patch_all"))
    assert printed.splitlines() == ["waits", "state_change", "{'active'}"]


@pytest.mark.parametrize("made", [Client, AsyncClient])
def test_pickling_a_client_says_what_to_do(made: Callable[[str], object]) -> None:
    with pytest.raises(TypeError, match="A client cannot be pickled; make one in the other process"):
        pickle.dumps(made("127.0.0.1:1"))


def test_pickling_a_subscription_says_what_to_do(server: Server) -> None:
    with Client(server.address) as client:
        session = client.sessions.create("u").id
        with (
            client.sessions.subscribe(session) as subscription,
            pytest.raises(
                TypeError, match="A subscription cannot be pickled; subscribe in the other process"
            ),
        ):
            pickle.dumps(subscription)


def test_without_asyncio_the_asynchronous_client_says_what_to_use() -> None:
    with pytest.raises(RuntimeError, match=r"needs a running asyncio event loop.*trio"):
        AsyncClient("127.0.0.1:1").sessions.get("s").send(None)


async def test_the_pages_endpoint_sends_events_and_keeps_alive(server: Server) -> None:
    body = textwrap.indent(block("keep-alive").replace("timeout=15", "timeout=0.1"), "    ")
    names: dict[str, Any] = {}
    exec(f"async def endpoint(client, session_id, last):\n{body}", names)
    async with AsyncClient(server.address) as client:
        session = await client.sessions.create("u")
        lines = names["endpoint"](client, session.id, 0)
        while (first := await anext(lines)) == KEEP_ALIVE:
            continue  # on a busy machine even an event that is there may take longer than the timeout
        idle = await anext(lines)
        await lines.aclose()
    assert first.startswith('id: 1\ndata: {"')
    assert idle == KEEP_ALIVE


def test_the_page_names_every_kind_of_program() -> None:
    for word in (
        "gunicorn",
        "Celery",
        "multiprocessing",
        "gevent",
        "trio",
        "spawn",
        "GRPC_ENABLE_FORK_SUPPORT",
    ):
        assert word in PAGE, word


def test_both_clients_work_in_one_process(server: Server) -> None:
    async def use() -> str:
        async with AsyncClient(server.address) as client:
            return (await client.sessions.create("u")).state

    with Client(server.address) as client:
        assert asyncio.run(use()) == client.sessions.create("u").state
