"""A server that is killed or stopped under load: acknowledged writes are there, and repeating them changes nothing."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Final

import grpc
import pytest

from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc
from tests.faults.durability.load import Load, check_histories, check_repeats, started_sessions, stub_of
from tests.support.figures import show
from tests.support.server import Server, start_server

WRITERS: Final = 32
SESSIONS: Final = 4
KILLS: Final = 3
ACKNOWLEDGED_BEFORE_THE_END: Final = 400


async def write_until(
    number: signal.Signals, server: Server, stub: pb_grpc.SessionServiceAsyncStub, load: Load, *, name: str
) -> int:
    """Sends the signal during the writes; returns the exit code."""
    enough = len(load.acknowledged) + ACKNOWLEDGED_BEFORE_THE_END
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(load.write_until_refused(stub, WRITERS, name=name))
        reached = tasks.create_task(load.reached(enough))
        await asyncio.wait([writing, reached], return_when=asyncio.FIRST_COMPLETED)
        assert reached.done(), f"every writer was refused before the signal: {load.refusals}"
        server.send(number)
        return await asyncio.to_thread(server.wait)


async def test_acknowledged_writes_survive_kill_9_and_repeats_have_one_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_server(tmp_path) as server:
        session_ids = await started_sessions(server, SESSIONS)
        load = Load(session_ids)
        in_doubt = done = 0
        for kill in range(KILLS):
            # A channel that lost its server fails every call until it reconnects, so each start has its own.
            async with stub_of(server) as stub:
                ended = await write_until(signal.SIGKILL, server, stub, load, name=f"run-{kill}")
            assert ended == -signal.SIGKILL
            server.start()
            done += await check_histories(server, load) - len(load.acknowledged)
            in_doubt += len(load.attempts) - len(load.acknowledged)
            async with stub_of(server) as stub:
                await check_repeats(stub, load.attempts)
            assert await check_histories(server, load) == len(load.attempts)
        show(
            capsys,
            f"kill -9: {KILLS} kills, {len(load.attempts)} messages, none lost or doubled; "
            f"{in_doubt} in doubt, of which {done} were done",
        )
        assert in_doubt > 0


async def test_a_server_stopped_under_load_loses_nothing_and_exits_within_its_grace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A grace far longer than the wait for the process shows that the process exits before its grace ends.
    with start_server(tmp_path, env={"SESSIONS_DRAIN_GRACE": "3600"}) as server:
        session_ids = await started_sessions(server, SESSIONS)
        async with stub_of(server) as stub:
            load = Load(session_ids)
            watching = asyncio.create_task(ending_of_a_stream(stub, session_ids[0]))
            assert await write_until(signal.SIGTERM, server, stub, load, name="run") == 0
            assert await watching == grpc.StatusCode.UNAVAILABLE
        assert load.refusals == {grpc.StatusCode.UNAVAILABLE}
        server.start()
        stored = await check_histories(server, load)
        show(capsys, f"SIGTERM: {len(load.acknowledged)} messages acknowledged, {stored} stored")


async def ending_of_a_stream(stub: pb_grpc.SessionServiceAsyncStub, session_id: str) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stub.Subscribe(pb.SubscribeRequest(session_id=session_id)):
            pass
    return caught.value.code()
