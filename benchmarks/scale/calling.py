"""Measures what the steps between gRPC and the store cost the server: CPU time without gRPC, in one process.

Run by hand: `.venv/bin/python -m benchmarks.scale.calling`. Each figure is the fastest of many rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence as Seq
from typing import TYPE_CHECKING, Any, Final, cast

from google.protobuf.struct_pb2 import Struct

from benchmarks.echo_server import event_loop
from benchmarks.load import CALLERS
from benchmarks.messages import message, message_with_data
from sessions_proto.v1 import commits_pb2 as commits_pb, sessions_pb2 as pb
from sessions_server.app import Core, call_limits, running_core
from sessions_server.domain.codec import encode_body
from sessions_server.domain.commit import Commit, Committed, NewSession
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import (
    Event,
    Message,
    MessageBody,
    MessageDraft,
    Sequence,
    SessionConfig,
    SessionKey,
    StorageOptions,
)
from sessions_server.domain.operations import Append
from sessions_server.domain.ports import HistoryPage
from sessions_server.rpc.calls import Calls
from sessions_server.rpc.convert.check import Check
from sessions_server.rpc.convert.commits import put_committed, read_commit
from sessions_server.rpc.convert.history import encode_history
from sessions_server.rpc.convert.messages import read_body
from sessions_server.rpc.local import LOCAL
from sessions_server.rpc.metrics import Metrics
from sessions_server.rpc.servicer import SessionServicer
from sessions_server.security.tokens import open_authenticator
from sessions_server.service.ids import new_message_id
from sessions_server.settings import Settings
from sessions_server.storage.clock import SystemClock
from sessions_server.storage.content import Content
from sessions_server.storage.recent_messages import read_messages

if TYPE_CHECKING:
    from google.protobuf.message import Message as Proto

FOLLOWERS: Final = 1_000
PAGE: Final = 100
ROUNDS: Final = 60
KEY: Final = SessionKey("default", new_message_id())


def fastest(step: Callable[[], object], *, repeats: int = 1) -> float:
    """The CPU time of one call, in µs."""
    found: list[float] = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(repeats):
            step()
        found.append((time.process_time() - started) / repeats * 1e6)
    return min(found)


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[Core]:
    """The server's core with an empty session in memory."""
    async with running_core(Settings(database_url="sqlite+aiosqlite:///:memory:")) as core:
        new = NewSession(user_id="u", metadata={}, config=SessionConfig(), storage=StorageOptions())
        await core.writer.submit(Commit(KEY, create=new))
        yield core


async def commits() -> str:
    request = commits_pb.CommitRequest(session_id=KEY.session_id, request_id=str(uuid.uuid4()))
    request.operations.add(append=message())

    def read() -> Commit:
        return read_commit(request, tenant=KEY.tenant, limits=Limits())

    async with session() as core:
        commit = read()
        committed: Committed = await core.sessions.commit(commit)

    def encode() -> bytes:
        response = commits_pb.StreamCommitsResponse()
        put_committed(response.outcomes.add(tag=1).response, commit, committed, Limits())
        return response.SerializeToString()

    reading, encoding = fastest(read, repeats=100), fastest(encode, repeats=100)
    return f"a commit of one message: read and check {reading:.1f} µs, encode the outcome {encoding:.1f} µs"


async def unary() -> str:
    async with session() as core:
        calls = Calls(
            [
                SessionServicer(
                    sessions=core.sessions,
                    subscriptions=core.subscriptions,
                    drafts=core.drafts,
                    transfers=core.transfers,
                    limits=core.limits,
                )
            ],
            authenticator=open_authenticator(None),
            clock=SystemClock(),
            metrics=Metrics(),
            limits=call_limits(Settings()),
        )
        context = Struct()
        context.update(
            {"theme": "dark", "steps": [1, 2, 3], "user_input": {"query": "three offers", "page": 2}}
        )
        await in_loop(calls, [pb.SetContextRequest(session_id=KEY.session_id, context=context)])
        kinds: dict[str, Callable[[], Seq[Proto]]] = {
            "AddMessage": adds,
            "GetSession": lambda: [pb.GetSessionRequest(session_id=KEY.session_id)] * CALLERS,
            "GetContext": lambda: [pb.GetContextRequest(session_id=KEY.session_id)] * CALLERS,
        }
        figures = {
            name: min([await in_loop(calls, requests()) for _ in range(ROUNDS)])
            for name, requests in kinds.items()
        }
    shown = ", ".join(f"{name} {micros:.1f} µs" for name, micros in figures.items())
    return f"each of {CALLERS} calls at once, in the thread that takes them: {shown}"


def adds() -> list[pb.AddMessageRequest]:
    return [
        pb.AddMessageRequest(session_id=KEY.session_id, request_id=str(uuid.uuid4()), message=message())
        for _ in range(CALLERS)
    ]


async def in_loop(calls: Calls, requests: Seq[Proto]) -> float:
    """The CPU time of this thread for each of these concurrent calls, in µs."""
    name = type(requests[0]).__name__.removesuffix("Request")
    method = calls.methods[f"/sessions.v1.SessionService/{name}"]
    incoming = [request.SerializeToString() for request in requests]
    started = time.thread_time()
    await asyncio.gather(*(calls.run(calls.begin(method, (), LOCAL), each) for each in incoming))
    return (time.thread_time() - started) / len(requests) * 1e6


class Counter:
    """A sink that lets other tasks run at each event, as a stream does."""

    def __init__(self) -> None:
        self._wanted = 0
        self._reached = asyncio.Event()

    async def event(self, _: Event) -> None:
        self._count()
        await asyncio.sleep(0)

    async def checkpoint(self, _position: Sequence, _log_id: str) -> None:
        self._count()

    def expect(self, count: int) -> None:
        self._wanted = count
        self._reached.clear()

    async def reached(self) -> None:
        """Returns when it has received what is expected."""
        await self._reached.wait()

    def _count(self) -> None:
        self._wanted -= 1
        if not self._wanted:
            self._reached.set()


async def followers() -> str:
    counter = Counter()
    async with session() as core, asyncio.TaskGroup() as tasks:
        counter.expect(FOLLOWERS)
        following = [
            tasks.create_task(core.subscriptions.follow(KEY, counter, kinds=frozenset(), after=None))
            for _ in range(FOLLOWERS)
        ]
        await counter.reached()
        found: list[float] = []
        for _ in range(ROUNDS):
            counter.expect(FOLLOWERS)
            started = time.process_time()
            draft = MessageDraft(new_message_id(), MessageBody("user", "Hello"))
            await core.writer.submit(Commit(KEY, operations=(Append(draft),)))
            await counter.reached()
            found.append((time.process_time() - started) / FOLLOWERS * 1e6)
        for each in following:
            each.cancel()
    return f"an event to each of {FOLLOWERS:,} followers: {min(found):.1f} µs, with its part of the write"


async def pages() -> str:
    content = Content(cast(Any, None), KEY, None)
    bodies = [read_body(Check(Limits()), "message", message_with_data()) for _ in range(PAGE)]
    rows = [(place, new_message_id(), 1, None, encode_body(body)) for place, body in enumerate(bodies)]
    recent = tuple(read_messages(content, rows))

    def new_messages() -> tuple[Message, ...]:
        return tuple(content.message(*row) for row in rows)

    def encode(messages: tuple[Message, ...]) -> bytes:
        return encode_history(HistoryPage(messages, has_more=True))

    others = iter([new_messages() for _ in range(ROUNDS)])
    figures = {
        "read": fastest(new_messages),
        "encode": fastest(lambda: encode(next(others))),
        "read again": fastest(lambda: read_messages(content, rows)),
        "encode again": fastest(lambda: encode(recent)),
    }
    shown = ", ".join(f"{name} {micros:.0f} µs" for name, micros in figures.items())
    return f"a page of {PAGE} messages with data: {shown}"


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for measure in (commits, unary, followers, pages):
        with asyncio.Runner(loop_factory=event_loop) as runner:
            sys.stdout.write(f"{runner.run(measure())}\n")


if __name__ == "__main__":
    main()
