"""Our server as the measurements use it: fills sessions, and names the calls that h2load repeats on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from benchmarks import messages
from benchmarks.load import CALLERS, CONNECTIONS, BenchmarkError, Call, Load, load
from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc

SERVICE = "sessions.v1.SessionService"
LARGEST_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Ours:
    address: str
    stub: pb_grpc.SessionServiceStub

    def session(self, *, history: int = 0) -> str:
        """The id of a new session whose history has so many messages."""
        made = self.stub.CreateSession(pb.CreateSessionRequest(user_id="benchmark")).session.id
        for first in range(0, history, LARGEST_BATCH):
            count = min(LARGEST_BATCH, history - first)
            self.stub.AddMessages(messages.add_messages(made, count=count))
        return made

    def sessions(self, *, history: int = 0) -> list[str]:
        """One for each connection."""
        return [self.session(history=history) for _ in range(CONNECTIONS)]

    def message_count(self, session_ids: Sequence[str]) -> int:
        found = [self.stub.GetSession(pb.GetSessionRequest(session_id=each)) for each in session_ids]
        return sum(each.session.message_count for each in found)

    def add_message(self, session_id: str) -> Call:
        request = messages.add_message(session_id)
        return Call(self.address, f"{SERVICE}/AddMessage", request, request.message.ByteSize())

    def add_messages(self, session_id: str) -> Call:
        request = messages.add_messages(session_id)
        return Call(self.address, f"{SERVICE}/AddMessages", request, messages.BATCH * messages.MESSAGE_BYTES)

    def get_session(self, session_id: str) -> Call:
        request = pb.GetSessionRequest(session_id=session_id)
        return Call(self.address, f"{SERVICE}/GetSession", request, self.stub.GetSession(request).ByteSize())

    def get_context(self, session_id: str) -> Call:
        request = pb.GetContextRequest(session_id=session_id)
        return Call(self.address, f"{SERVICE}/GetContext", request, self.stub.GetContext(request).ByteSize())

    def get_history(self, session_id: str) -> Call:
        request = pb.GetHistoryRequest(session_id=session_id, limit=10)
        return Call(self.address, f"{SERVICE}/GetHistory", request, self.stub.GetHistory(request).ByteSize())

    def load_adds(self, session_ids: Sequence[str], *, seconds: float, batch: int = 1) -> Load:
        """Adds messages to all of them at once, and compares what was answered with what is stored."""
        before = self.message_count(session_ids)
        call = self.add_message if batch == 1 else self.add_messages
        done = load([call(each) for each in session_ids], seconds=seconds)
        stored = (self.message_count(session_ids) - before) / batch
        # h2load leaves when its time is over, without waiting for the calls that are then under way.
        if not done.succeeded <= stored <= done.succeeded + CALLERS:
            raise BenchmarkError(f"{done.succeeded} calls succeeded, but {stored} are stored.")
        return done


@contextmanager
def connected(address: str) -> Iterator[Ours]:
    with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield Ours(address, pb_grpc.SessionServiceStub(channel))


def echo(address: str) -> Call:
    """The bare echo of the same message."""
    request = messages.add_message("0190f2c4-7a6b-7c3d-8e2f-000000000000")
    return Call(address, f"{messages.SERVICE}/Echo", request, messages.MESSAGE_BYTES)


def echo_ten(address: str) -> Call:
    """An echo that answers ten messages."""
    request = pb.GetHistoryRequest(session_id="0190f2c4-7a6b-7c3d-8e2f-000000000000", limit=10)
    return Call(address, f"{messages.SERVICE}/EchoTen", request, messages.ten_messages().ByteSize())
