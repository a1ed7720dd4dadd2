"""A server killed during commits to sessions and shared records: each is done wholly or not at all."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc

from sessions_proto.v1 import commits_pb2, commits_pb2_grpc, records_pb2, sessions_pb2 as pb
from tests.faults.durability.load import started_sessions
from tests.support.amounts import amount
from tests.support.figures import show
from tests.support.server import Server, start_server

if TYPE_CHECKING:
    import pytest

WRITERS: Final = 16
KILLS: Final = amount("KILLS", 3)
"""200 take a quarter of an hour."""

COMMITS_BEFORE_A_KILL: Final = 60


class Writer:
    """Makes commits 1, 2, 3, … to its own session: a message and four records, all with the number."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.acknowledged = 0

    def names(self) -> list[records_pb2.RecordName]:
        scopes = ({"session_id": self.session_id}, {"user_id": self.session_id}, {"tenant": True})
        return [
            records_pb2.RecordName(
                scope=records_pb2.Scope(**scope), collection=["kill"], key=f"last of {self.session_id}"
            )
            for scope in scopes
        ]

    def commit(self, number: int) -> commits_pb2.CommitRequest:
        text = str(number)
        own = records_pb2.RecordName(
            scope=records_pb2.Scope(session_id=self.session_id), collection=["kill"], key=text
        )
        message = pb.Message(role="user", content=text)
        return commits_pb2.CommitRequest(
            session_id=self.session_id,
            request_id=f"{self.session_id}-{number}",
            operations=[
                commits_pb2.Operation(append=message),
                *(
                    commits_pb2.Operation(
                        put=commits_pb2.RecordPut(record=records_pb2.Record(name=name, value=text.encode()))
                    )
                    for name in (*self.names(), own)
                ),
            ],
        )

    async def write_until_refused(self, stub: commits_pb2_grpc.CommitServiceAsyncStub) -> None:
        while True:
            try:
                await stub.Commit(self.commit(self.acknowledged + 1))
            except grpc.aio.AioRpcError:
                return
            self.acknowledged += 1

    async def check(self, stub: commits_pb2_grpc.CommitServiceAsyncStub) -> bool:
        """Whether the commit in doubt was done. Fails if one was lost or done in part."""
        following = self.acknowledged + 1
        owned = records_pb2.RecordName(
            scope=records_pb2.Scope(session_id=self.session_id), collection=["kill"], key=str(following)
        )
        history = pb.GetHistoryRequest(session_id=self.session_id, limit=1)
        request = commits_pb2.ReadRequest(
            reads=[
                commits_pb2.ReadOperation(history=history),
                *(commits_pb2.ReadOperation(record=name) for name in (*self.names(), owned)),
            ]
        )
        said, *records, own = (await stub.Read(request)).results
        done = own.HasField("record")
        number = self.acknowledged + done
        assert [message.content for message in said.history.messages] == ([str(number)] if number else [])
        assert [each.record.value for each in records] == [str(number).encode() if number else b""] * 3
        self.acknowledged = number
        return done


async def test_kill_9_leaves_no_partial_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with start_server(tmp_path) as server:
        writers = [Writer(session_id) for session_id in await started_sessions(server, WRITERS)]
        done = 0
        for _ in range(KILLS):
            await kill_in_the_midst(server, writers)
            server.start()
            async with grpc.aio.insecure_channel(server.address) as channel:
                stub = commits_pb2_grpc.CommitServiceStub(channel)
                done += sum([await writer.check(stub) for writer in writers])
        commits = sum(writer.acknowledged for writer in writers)
        show(
            capsys,
            f"kill -9: {KILLS} kills in the midst of commits, {commits} commits, {KILLS * WRITERS} in doubt, "
            f"of which {done} were done; none lost, none in part",
        )


async def kill_in_the_midst(server: Server, writers: list[Writer]) -> None:
    before = sum(writer.acknowledged for writer in writers)
    async with grpc.aio.insecure_channel(server.address) as channel, asyncio.TaskGroup() as tasks:
        stub = commits_pb2_grpc.CommitServiceStub(channel)
        writing = [tasks.create_task(writer.write_until_refused(stub)) for writer in writers]
        while sum(writer.acknowledged for writer in writers) < before + COMMITS_BEFORE_A_KILL:
            assert not any(task.done() for task in writing), "a writer was refused before the kill"
            await asyncio.sleep(0.005)
        server.send(signal.SIGKILL)
        assert await asyncio.to_thread(server.wait) == -signal.SIGKILL
