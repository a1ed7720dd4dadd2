"""Responses with many values are converted outside of the event loop, whichever method returns them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from sessions_proto.v1 import commits_pb2 as commits_pb, sessions_pb2 as pb
from sessions_server.app import Core, running_core
from sessions_server.domain.models import Sequence, SessionKey
from sessions_server.domain.ports import Caller
from sessions_server.rpc import commits, servicer
from sessions_server.rpc.commits import CommitServicer
from sessions_server.rpc.convert.large import MANY, are_many
from sessions_server.rpc.servicer import SessionServicer
from sessions_server.settings import Settings

if TYPE_CHECKING:
    from sessions_server.domain.models import Json

CALLER = Caller("default")

SIZES: dict[str, tuple[Json, bool]] = {
    "nothing": (None, False),
    "a long text": ("x" * 10 * MANY, False),
    "a list": ([0] * MANY, True),
    "a shorter list": ([0] * (MANY - 1), False),
    "an object": ({str(number): None for number in range(MANY)}, True),
    "many small ones": ([{"n": 1}] * (MANY // 2), True),
    "a few small ones": ([{"n": 1}] * (MANY // 2 - 1), False),
    "a deep one": ({"a": {"b": [{"c": [0] * MANY}]}}, True),
}


@pytest.mark.parametrize(("value", "many"), SIZES.values(), ids=SIZES)
def test_values_are_counted_at_every_level(value: Json, many: bool) -> None:
    assert are_many([value]) is many
    assert are_many([None, value, "x"]) is many


@pytest_asyncio.fixture
async def core() -> AsyncIterator[Core]:
    async with running_core(Settings(database_url="sqlite+aiosqlite:///:memory:")) as core:
        yield core


@pytest.fixture
def sessions(core: Core) -> SessionServicer:
    return SessionServicer(
        sessions=core.sessions,
        subscriptions=core.subscriptions,
        drafts=core.drafts,
        transfers=core.transfers,
        limits=core.limits,
    )


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[int]]:
    """The threads in which each conversion ran."""
    ran: dict[str, set[int]] = {}

    def watch(module: Any, name: str) -> None:
        convert: Callable[..., Any] = getattr(module, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            ran.setdefault(name, set()).add(threading.get_ident())
            return convert(*arguments, **options)

        monkeypatch.setattr(module, name, watched)

    for name in (
        "put_context",
        "put_context_part",
        "encode_history",
        "put_messages",
        "put_record",
        "encode_event",
    ):
        watch(servicer, name)
    watch(commits, "encode_response")
    return ran


async def write(_: bytes) -> None:
    """Discards the response."""


async def use(core: Core, sessions: SessionServicer, session_id: str, values: int) -> None:
    """Calls every method that returns JSON of this size."""
    await sessions.CreateSession(pb.CreateSessionRequest(session_id=session_id, user_id="u"), CALLER)
    put = pb.SetContextRequest(session_id=session_id)
    put.context.update({"a": [0] * values})
    await sessions.SetContext(put, CALLER)
    message = pb.Message(role="user", id="m")
    message.data.update({"a": [0] * values})
    await sessions.AddMessages(pb.AddMessagesRequest(session_id=session_id, messages=[message]), CALLER)
    await sessions.GetContext(pb.GetContextRequest(session_id=session_id), CALLER)
    await sessions.GetContext(pb.GetContextRequest(session_id=session_id, path="a"), CALLER)
    await sessions.GetHistory(pb.GetHistoryRequest(session_id=session_id), CALLER)
    await sessions.ExportSession(pb.ExportSessionRequest(session_id=session_id), CALLER, write)
    page = await core.store.log(SessionKey("default", session_id), Sequence(0), 9)
    for event in page.events:
        await servicer._Subscriber(write, changes=False).event(event)
    read = commits_pb.ReadOperation(context=pb.GetContextRequest(session_id=session_id))
    await CommitServicer(sessions=core.sessions, limits=core.limits).Read(
        commits_pb.ReadRequest(reads=[read]), CALLER
    )


async def test_large_responses_are_converted_in_a_thread(
    core: Core, sessions: SessionServicer, threads: dict[str, set[int]]
) -> None:
    here = threading.get_ident()
    await use(core, sessions, "small", 10)
    assert threads.keys() == {
        *("put_context", "put_context_part", "encode_history", "put_messages"),
        *("put_record", "encode_event", "encode_response"),
    }
    assert all(ran == {here} for ran in threads.values())
    threads.clear()
    await use(core, sessions, "large", MANY)
    for name, ran in threads.items():
        assert here not in ran or name in ("put_record", "encode_event"), name  # some of these are small
        assert ran != {here}, name
