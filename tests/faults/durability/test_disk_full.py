"""A disk that is really full: writes are refused with a reason, reads continue, and free space restores everything."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
import pytest

from sessions_client import AsyncClient, Client, ResourceExhausted
from tests.faults.durability.load import Load, check_histories, check_repeats, started_sessions, stub_of
from tests.faults.durability.on_small_disk import as_seen_by
from tests.support.figures import show
from tests.support.server import Server, sqlite_url, start_server

DISK_BYTES: Final = 8 * 1024 * 1024
ROOM_BYTES: Final = 1024 * 1024
CONTENT_BYTES: Final = 8 * 1024
LARGE_BYTES: Final = 128 * 1024
WRITERS: Final = 32
SESSIONS: Final = 4


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    disk = tmp_path / "disk"
    disk.mkdir()
    return disk


@pytest.fixture
def server(tmp_path: Path, disk: Path) -> Iterator[Server]:
    program = ["-m", "tests.faults.durability.on_small_disk", str(disk), str(DISK_BYTES)]
    env = {"SESSIONS_DATABASE_URL": sqlite_url(disk)}
    with start_server(tmp_path, env=env, program=program) as server:
        yield server


@pytest.fixture
def ballast(server: Server, disk: Path) -> Path:
    """A file that leaves little space on the server's disk."""
    ballast = as_seen_by(server.pid, disk) / "ballast"
    with ballast.open("wb") as file:
        status = os.fstatvfs(file.fileno())
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - ROOM_BYTES)
    return ballast


async def test_on_a_full_disk_writes_fail_reads_work_and_free_space_restores_writes(
    server: Server, ballast: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session_ids = await started_sessions(server, SESSIONS)
    async with stub_of(server) as stub, AsyncClient(server.address) as client:
        load = Load(session_ids)
        await load.write_until_refused(stub, WRITERS, name="run", content_bytes=CONTENT_BYTES)
        assert load.refusals == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        with pytest.raises(ResourceExhausted) as refused:
            await client.sessions.add_message(session_ids[0], role="user", content="x" * LARGE_BYTES)
        assert refused.value.reason == "STORAGE_FULL"
        stored = await check_histories(server, load)
        assert stored == len(load.acknowledged) > 0
        await asyncio.to_thread(ballast.unlink)
        await check_repeats(stub, load.attempts)
        assert await check_histories(server, load) == len(load.attempts)
    show(
        capsys,
        f"disk full: {stored} messages acknowledged and read, {len(load.attempts) - stored} refused, then stored",
    )


@pytest.mark.usefixtures("ballast")
async def test_a_server_with_a_full_disk_stops_normally(server: Server) -> None:
    session_ids = await started_sessions(server, SESSIONS)
    async with stub_of(server) as stub:
        load = Load(session_ids)
        await load.write_until_refused(stub, WRITERS, name="run", content_bytes=CONTENT_BYTES)
    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_a_server_starts_on_a_full_disk_and_serves_reads(tmp_path: Path, disk: Path) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    with start_server(tmp_path, env={"SESSIONS_DATABASE_URL": sqlite_url(killed)}) as server:
        with Client(server.address) as client:
            session = client.sessions.create("u1")
            client.sessions.add_message(session.id, role="user", content="x" * LARGE_BYTES)
        server.kill()
    program = ["-m", "tests.faults.durability.on_full_disk", str(disk), str(killed)]
    with start_server(tmp_path, env={"SESSIONS_DATABASE_URL": sqlite_url(disk)}, program=program) as server:
        with Client(server.address) as client:
            assert len(client.sessions.get_history(session.id)) == 1
            with pytest.raises(ResourceExhausted):
                client.sessions.add_message(session.id, role="user", content="x" * LARGE_BYTES)
        assert server.stop() == 0


@pytest.mark.parametrize("is_new", [True, False], ids=["a new database", "a database that was closed"])
def test_a_start_without_any_space_names_the_disk(tmp_path: Path, disk: Path, is_new: bool) -> None:
    before = tmp_path / "before"
    before.mkdir()
    if not is_new:
        with start_server(tmp_path, env={"SESSIONS_DATABASE_URL": sqlite_url(before)}) as server:
            assert server.stop() == 0
    program = ["-m", "tests.faults.durability.on_full_disk", str(disk), str(before)]
    with pytest.raises(RuntimeError, match=r"StoreRefused: The disk of .* is full") as refused:
        start_server(tmp_path, env={"SESSIONS_DATABASE_URL": sqlite_url(disk)}, program=program)
    assert "SESSIONS_DATABASE_URL" in str(refused.value).splitlines()[-1]
