"""`serve --workers 2`: two processes behind one address, as callers see them, and what remains when one is killed.

These workers poll the database once an hour, so whatever one shows of the other's writes was caused by a wake-up.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

import grpc
import psutil
import pytest

from sessions_client import AsyncClient
from sessions_proto.v1 import (
    drafts_pb2 as drafts_pb,
    drafts_pb2_grpc as drafts_pb_grpc,
    sessions_pb2 as pb,
    sessions_pb2_grpc as pb_grpc,
)
from sessions_server.security.keyring import create_keyring
from tests.faults.drafts.watching import RawWriter, Watcher, text_of, tokens_of
from tests.support.command_line import run, run_here, sentence_of
from tests.support.ports import HOST, free_port
from tests.support.postgres import Postgres
from tests.support.server import Server, start_server

WORKERS: Final = ("1", "2")
TOKENS: Final = 30


class Fleet:
    """A server with two workers."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.keyring = folder / "keyring"
        create_keyring(self.keyring, now=datetime.now(UTC))
        self._metrics = f"{HOST}:{free_port()}"
        self.settings = {
            "SESSIONS_DATABASE_URL": database_url,
            "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true",
            "SESSIONS_POLL_INTERVAL": "3600",
            "SESSIONS_WORKERS": str(len(WORKERS)),
            "SESSIONS_METRICS_LISTEN": self._metrics,
            "SESSIONS_KEYRING": str(self.keyring),
        }
        self.server = start_server(folder, env=self.settings, http=True)

    def process(self, worker: str) -> psutil.Process:
        """The newest process of a worker that has served."""
        return psutil.Process(
            int(re.findall(rf"worker {worker} serves as process (\d+)", self.server.log)[-1])
        )

    def processes(self) -> list[psutil.Process]:
        """All processes of the server, the supervisor first."""
        parent = psutil.Process(self.server.pid)
        return [parent, *parent.children(recursive=True)]

    def metrics(self) -> str:
        with urlopen(f"http://{self._metrics}/metrics") as answer:
            return str(answer.read().decode())

    def serving(self) -> dict[str, float]:
        return self._by_worker(r"sessions_serving")

    def calls(self, method: str) -> Counter[str]:
        """The number of calls that each worker has answered."""
        return Counter(self._by_worker(rf'sessions_rpc_handled_total{{.*method="{method}".*'))

    def _by_worker(self, series: str) -> dict[str, float]:
        found = re.findall(rf'^{series}.*worker="(\d+)".* (\S+)$', self.metrics(), re.MULTILINE)
        return {worker: float(value) for worker, value in found}

    @asynccontextmanager
    async def channels(self) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
        """One connection to each worker: opens as many as that takes, since Linux chooses the worker."""
        found: dict[str, grpc.aio.Channel] = {}
        while len(found) < len(WORKERS):
            options = (("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100))
            channel = grpc.aio.insecure_channel(self.server.address, options=options)
            stub = pb_grpc.SessionServiceStub(channel)
            worker = await self.worker_of(stub.ListSessions(pb.ListSessionsRequest(page_size=1)))
            if worker in found:
                await channel.close()
            else:
                found[worker] = channel
        yield found
        for channel in found.values():
            await channel.close()

    async def worker_of(self, listing: Awaitable[object]) -> str:
        """The worker that answers a ListSessions call."""
        before = self.calls("ListSessions")
        await listing
        await until(lambda: self.calls("ListSessions") - before)
        [worker] = self.calls("ListSessions") - before
        return worker

    async def until_logged(self, text: str, count: int = 1) -> None:
        """Returns once the log has this text as many times."""
        await until(lambda: self.server.log.count(text) >= count)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  # another process makes it true
        await asyncio.sleep(0.02)


def post(server: Server, method: str) -> None:
    url = f"{server.url}/sessions.v1.SessionService/{method}"
    with urlopen(Request(url, data=b"{}", headers={"content-type": "application/json"})) as answer:
        assert answer.status == 200


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres) -> Iterator[Fleet]:
    url = postgres_server.url(asyncio.run(postgres_server.fresh_database()))
    fleet = Fleet(tmp_path_factory.mktemp("workers"), url)
    with fleet.server:
        yield fleet


@pytest.fixture
def fleet(running: Fleet) -> Fleet:
    """Restarted if a test has ended it."""
    if not running.server.is_running:
        running.server.start()
    return running


async def test_both_workers_answer_at_one_address_over_grpc_and_http(fleet: Fleet) -> None:
    async with fleet.channels() as channels:
        assert set(channels) == set(WORKERS)
    over_http: set[str] = set()
    while over_http != set(WORKERS):
        over_http.add(await fleet.worker_of(asyncio.to_thread(post, fleet.server, "ListSessions")))


def test_one_scrape_has_the_metrics_of_both_workers(fleet: Fleet) -> None:
    assert fleet.serving() == {"1": 1.0, "2": 1.0}
    metrics = fleet.metrics()
    assert metrics.count("# TYPE sessions_rpc_handled_total counter") == 1
    assert len(re.findall(r"^process_resident_memory_bytes", metrics, re.MULTILINE)) == len(WORKERS)


def test_the_supervisor_has_loaded_neither_grpc_nor_sqlalchemy(fleet: Fleet) -> None:
    parent, *workers = fleet.processes()
    assert {each.pid for each in workers} == {fleet.process(worker).pid for worker in WORKERS}
    maps = Path(f"/proc/{parent.pid}/maps").read_text()
    assert "_asyncio" in maps
    assert [library for library in ("grpc", "sqlalchemy") if library in maps] == []


async def test_subscribers_at_one_worker_are_woken_by_writes_at_the_other(fleet: Fleet) -> None:
    async with fleet.channels() as channels:
        one, two = (pb_grpc.SessionServiceStub(channels[worker]) for worker in WORKERS)
        session = (await one.CreateSession(pb.CreateSessionRequest(user_id="u"))).session
        for writer, watcher in ((one, two), (two, one)):
            stream: Any = watcher.Subscribe(pb.SubscribeRequest(session_id=session.id))
            await stream.read()
            for _ in range(10):
                message = pb.Message(role="user", content="Hello")
                written = await writer.AddMessage(
                    pb.AddMessageRequest(session_id=session.id, message=message)
                )
                assert (await stream.read()).event.sequence == written.message.sequence
            stream.cancel()


async def test_a_draft_at_one_worker_is_seen_and_ended_at_the_other(fleet: Fleet) -> None:
    text = text_of(1, TOKENS)
    async with fleet.channels() as channels, watching(channels, {"m-1": text}) as (session_id, watchers):
        await RawWriter(channels["1"], session_id, "m-1", text).write(per_second=500)
        for watcher in watchers:
            await watcher.see_text("m-1", len(text))
        whole = pb.Message(id="m-1", role="assistant", content=text)
        request = drafts_pb.CommitDraftRequest(session_id=session_id, message_id="m-1", message=whole)
        await drafts_pb_grpc.DraftServiceStub(channels["2"]).CommitDraft(request)
        for watcher in watchers:
            await watcher.see_messages("m-1")


@asynccontextmanager
async def watching(
    channels: dict[str, grpc.aio.Channel], texts: dict[str, str]
) -> AsyncIterator[tuple[str, list[Watcher]]]:
    """A new session with a watcher at each worker, which moves to the other when its own is killed."""
    one, two = (channels[worker] for worker in WORKERS)
    created = await pb_grpc.SessionServiceStub(one).CreateSession(pb.CreateSessionRequest(user_id="u"))
    watchers = [Watcher(order, created.session.id, texts) for order in ([one, two], [two, one])]
    tasks = [asyncio.ensure_future(watcher.watch()) for watcher in watchers]
    for watcher in watchers:
        await watcher.established.wait()
    yield created.session.id, watchers
    for task in tasks:
        task.cancel()
    assert [wrong for watcher in watchers for wrong in watcher.wrong] == []


async def test_a_killed_worker_loses_no_acknowledged_write_and_is_restarted(fleet: Fleet) -> None:
    text = text_of(1, TOKENS)
    acknowledged: list[int] = []
    served = fleet.server.log.count("serves as process")

    async def write(session_id: str) -> None:
        while fleet.server.log.count("serves as process") == served:
            message = await client.sessions.add_message(session_id, role="user", content="Hello")
            acknowledged.append(message.sequence)

    async with (
        fleet.channels() as channels,
        AsyncClient(fleet.server.address) as client,
        watching(channels, {"m-1": text}) as (session_id, watchers),
    ):
        before = fleet.calls("WriteDraft")
        async with client.sessions.draft(session_id, message_id="m-1") as draft:
            for number, token in enumerate(tokens_of(text)):
                await draft.write(token)
                if number == TOKENS // 2:
                    for watcher in watchers:
                        await watcher.see_text("m-1")
                    writing = [asyncio.ensure_future(write(session_id)) for _ in range(4)]
                    await until(lambda: acknowledged and fleet.calls("WriteDraft") - before)
                    [worker] = fleet.calls("WriteDraft") - before
                    fleet.process(worker).kill()
        for watcher in watchers:
            await watcher.see_messages("m-1")
        await asyncio.gather(*writing)
        session = await client.sessions.get(session_id)
    assert session.message_count == len(set(acknowledged)) + len({"m-1"})
    assert fleet.serving() == {"1": 1.0, "2": 1.0}
    assert f"worker {worker} was ended by SIGKILL; it is started again in" in fleet.server.log


def test_no_other_server_receives_some_of_the_calls(fleet: Fleet) -> None:
    for env in ({}, fleet.settings):
        again = {**env, "SESSIONS_LISTEN": fleet.server.address, "SESSIONS_METRICS_LISTEN": ""}
        done = run_here("serve", folder=fleet.folder, env=again)
        assert sentence_of(done).startswith(f"The server cannot listen on {fleet.server.address}")


async def test_a_stop_drains_both_and_a_killed_parent_leaves_no_process(fleet: Fleet) -> None:
    server = fleet.server
    for number in (signal.SIGTERM, signal.SIGKILL):
        processes = fleet.processes()
        assert len(processes) == 1 + len(WORKERS)
        async with fleet.channels() as channels, AsyncClient(server.address) as client:
            session = await client.sessions.create("u")
            stubs = [pb_grpc.SessionServiceStub(channel) for channel in channels.values()]
            streams = [stub.Subscribe(pb.SubscribeRequest(session_id=session.id)) for stub in stubs]
            for stream in streams:
                await stream.read()
            server.send(number)
            for stream in streams:
                with pytest.raises(grpc.aio.AioRpcError, match="The server is stopping"):
                    await stream.read()
        assert server.wait() == (0 if number is signal.SIGTERM else -number)
        psutil.wait_procs(processes)  # all exit
        if number is signal.SIGTERM:
            server.start()


async def test_a_worker_that_cannot_start_is_retried_until_none_serves(fleet: Fleet) -> None:
    starts = fleet.server.log.count("worker 1 serves as process")
    away = fleet.keyring.rename(fleet.folder / "away")
    fleet.process("1").kill()
    await fleet.until_logged("worker 1 ended with exit code 1; it is started again in")
    *_, first, second = re.findall(r"worker 1 .* it is started again in (\S+) s", fleet.server.log)
    assert float(second) == 2 * float(first)
    assert fleet.serving() == {"1": 0.0, "2": 1.0}
    away.rename(fleet.keyring)
    await fleet.until_logged("worker 1 serves as process", starts + 1)
    fleet.keyring.rename(away)
    for worker in WORKERS:
        fleet.process(worker).kill()
    assert fleet.server.wait() == 1


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        (
            {},
            "A SQLite file serves one process; give several workers a PostgreSQL in SESSIONS_DATABASE_URL, or",
        ),
        (
            {"SESSIONS_DATABASE_URL": "postgresql://u@h/d", "SESSIONS_LISTEN": "unix:a.sock"},
            "Several workers cannot share a Unix socket; give SESSIONS_LISTEN a host and a port",
        ),
        ({"SESSIONS_WORKERS": "0"}, "--workers (SESSIONS_WORKERS) cannot be used"),
        ({"SESSIONS_WORKERS": "257"}, "--workers (SESSIONS_WORKERS) cannot be used"),
    ],
)
def test_settings_unsuitable_for_workers_are_refused(
    tmp_path: Path, env: dict[str, str], sentence: str
) -> None:
    env = {"SESSIONS_WORKERS": "2", **env}
    assert sentence_of(run_here("serve", folder=tmp_path, env=env)).startswith(sentence)
    if env["SESSIONS_WORKERS"] == "2":
        assert f"FAIL  settings  {sentence}" in run_here("doctor", folder=tmp_path, env=env).stdout
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_refuses_to_start_ends_the_server_with_one_sentence(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    url = postgres_server.url(asyncio.run(postgres_server.fresh_database()))
    env = {
        "SESSIONS_DATABASE_URL": url,
        "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true",
        "SESSIONS_WAKEUPS": "nats://",
    }
    said = sentence_of(run("serve", "--workers", "2", "--listen", f"{HOST}:0", folder=tmp_path, env=env))
    assert "give SESSIONS_WAKEUPS an address such as nats://127.0.0.1:4222" in said
