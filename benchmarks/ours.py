"""Our server in the measurements: fills sessions, and defines the calls that h2load repeats on them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from benchmarks import messages
from benchmarks.callers import REQUEST_ID, Answered, call
from benchmarks.load import CALLERS, CONNECTIONS, BenchmarkError, Call
from benchmarks.processes import Server
from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc

SERVICE = "sessions.v1.SessionService"
LARGEST_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Ours:
    process: Server
    stub: pb_grpc.SessionServiceStub

    @property
    def address(self) -> str:
        return self.process.address

    def session(self, *, history: int = 0, data: bool = False) -> str:
        """The id of a new session with this many messages."""
        made = self.stub.CreateSession(pb.CreateSessionRequest(user_id="benchmark")).session.id
        self.fill(made, history, data=data)
        return made

    def fill(self, session_id: str, history: int, *, data: bool = False) -> None:
        """Adds this many messages."""
        for first in range(0, history, LARGEST_BATCH):
            count = min(LARGEST_BATCH, history - first)
            self.stub.AddMessages(messages.add_messages(session_id, count=count, data=data))

    def sessions(self, count: int = CONNECTIONS, *, history: int = 0, data: bool = False) -> list[str]:
        """One per connection of h2load by default."""
        return [self.session(history=history, data=data) for _ in range(count)]

    def fork(self, session_id: str) -> pb.Session:
        request = pb.ForkSessionRequest(session_id=session_id, request_id=str(uuid.uuid4()))
        return self.stub.ForkSession(request).session

    def export_and_import(self, session_id: str) -> pb.Session:
        """Copies the session to another id by export and import."""
        exported = [
            pb.ImportSessionRequest(record=response.record)
            for response in self.stub.ExportSession(pb.ExportSessionRequest(session_id=session_id))
        ]
        exported[0].session_id = exported[0].request_id = str(uuid.uuid4())
        return self.stub.ImportSession(iter(exported)).session

    def message_count(self, session_ids: Sequence[str]) -> int:
        found = [self.stub.GetSession(pb.GetSessionRequest(session_id=each)) for each in session_ids]
        return sum(each.session.message_count for each in found)

    def add_message(self, session_id: str) -> Call:
        request = messages.add_message(session_id)
        request.request_id = REQUEST_ID
        return Call(self.address, f"{SERVICE}/AddMessage", request, request.message.ByteSize())

    def add_messages(self, session_id: str) -> Call:
        request = messages.add_messages(session_id)
        request.request_id = REQUEST_ID
        return Call(self.address, f"{SERVICE}/AddMessages", request, messages.BATCH * messages.MESSAGE_BYTES)

    def get_session(self, session_id: str) -> Call:
        request = pb.GetSessionRequest(session_id=session_id)
        return Call(self.address, f"{SERVICE}/GetSession", request, self.stub.GetSession(request).ByteSize())

    def get_context(self, session_id: str) -> Call:
        request = pb.GetContextRequest(session_id=session_id)
        return Call(self.address, f"{SERVICE}/GetContext", request, self.stub.GetContext(request).ByteSize())

    def get_history(self, session_id: str, limit: int = 10) -> Call:
        request = pb.GetHistoryRequest(session_id=session_id, limit=limit)
        return Call(self.address, f"{SERVICE}/GetHistory", request, self.stub.GetHistory(request).ByteSize())

    def load_adds(
        self,
        session_ids: Sequence[str],
        *,
        seconds: float,
        batch: int = 1,
        callers: int = CALLERS,
        connections: int = CONNECTIONS,
    ) -> Answered:
        """Adds messages to all sessions concurrently, and compares the numbers of responses and of stored messages."""
        before = self.message_count(session_ids)
        made = self.add_message if batch == 1 else self.add_messages
        done = call(
            [made(each) for each in session_ids], callers=callers, seconds=seconds, connections=connections
        )
        stored = self.message_count(session_ids) - before
        if stored != done.succeeded * batch:
            raise BenchmarkError(f"{done.succeeded} calls succeeded, but {stored} messages are stored.")
        return done


@contextmanager
def connected(process: Server) -> Iterator[Ours]:
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(process.address, options=options) as channel:
        yield Ours(process, pb_grpc.SessionServiceStub(channel))


def echo(address: str) -> Call:
    """The bare echo of the same message."""
    request = messages.add_message("0190f2c4-7a6b-7c3d-8e2f-000000000000")
    return Call(address, f"{messages.SERVICE}/Echo", request, messages.MESSAGE_BYTES)


def echo_history(address: str, count: int, *, data: bool = False) -> Call:
    """An echo that returns a history of this many messages."""
    request = pb.GetHistoryRequest(session_id="0190f2c4-7a6b-7c3d-8e2f-000000000000", limit=count)
    method = messages.ECHO_DATA if data else messages.ECHO_HISTORY
    return Call(
        address, f"{messages.SERVICE}/{method}", request, messages.history(count, data=data).ByteSize()
    )
