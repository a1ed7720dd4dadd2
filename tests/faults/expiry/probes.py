"""Asks a server about random sessions at one time, and records every wrong response."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc

from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc
from tests.faults.expiry.population import GONE, IDLING, Specimen

if TYPE_CHECKING:
    import random

T = TypeVar("T")
Stub: TypeAlias = "pb_grpc.SessionServiceAsyncStub"

AT_ONCE = 64


def _message(it: Specimen) -> pb.Message:
    return pb.Message(role="user", content=it.secret)


READS: dict[str, Callable[[Stub, Specimen], Awaitable[Any]]] = {
    "GetSession": lambda stub, it: stub.GetSession(pb.GetSessionRequest(session_id=it.id)),
    "GetContext": lambda stub, it: stub.GetContext(pb.GetContextRequest(session_id=it.id)),
    "GetHistory": lambda stub, it: stub.GetHistory(pb.GetHistoryRequest(session_id=it.id)),
    "ExportSession": lambda stub, it: _export(stub, it),
    "Subscribe": lambda stub, it: _subscribe(stub, it),
}

WEIGHTS = (10, 10, 10, 2, 2)
"""The relative frequency of each; streams cost several times as much as other calls."""

WRITES: dict[str, Callable[[Stub, Specimen], Awaitable[Any]]] = {
    "AddMessage": lambda stub, it: stub.AddMessage(
        pb.AddMessageRequest(session_id=it.id, message=_message(it))
    ),
    "AddMessages": lambda stub, it: stub.AddMessages(
        pb.AddMessagesRequest(session_id=it.id, messages=[_message(it)])
    ),
    "SetContext": lambda stub, it: stub.SetContext(pb.SetContextRequest(session_id=it.id)),
    "UpdateContext": lambda stub, it: stub.UpdateContext(
        pb.UpdateContextRequest(session_id=it.id, changes=[pb.ContextChange(path="a", increment=1)])
    ),
    "ClearHistory": lambda stub, it: stub.ClearHistory(pb.ClearHistoryRequest(session_id=it.id)),
}


async def _export(stub: Stub, it: Specimen) -> list[pb.ExportSessionResponse]:
    return [response async for response in stub.ExportSession(pb.ExportSessionRequest(session_id=it.id))]


async def _subscribe(stub: Stub, it: Specimen) -> Any:
    """The first two responses of a subscription from the start: a checkpoint and the first event."""
    call = stub.Subscribe(pb.SubscribeRequest(session_id=it.id, after_sequence=0))
    responses = [await call.read(), await call.read()]
    call.cancel()
    return responses


async def each(items: Iterable[T], work: Callable[..., Awaitable[None]], *more: Any) -> None:
    """Runs several at once, in random order."""
    waiting = iter(items)

    async def one_after_another() -> None:
        for item in waiting:
            await work(item, *more)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(one_after_another())


class Inspector:
    def __init__(self, stub: Stub, rng: random.Random) -> None:
        self._stub = stub
        self._rng = rng
        self.calls: Counter[str] = Counter()
        self.with_content = 0
        """Responses that rightly contained a session's secret."""
        self.violations: list[str] = []

    async def read(self, it: Specimen, span: int) -> None:
        """One random read of a session at this time after its creation."""
        state = it.state_after(span)
        name = self._rng.choices(list(READS), WEIGHTS)[0]
        answer, refusal = await self._call(name, READS[name], it)
        if state == GONE:
            self._check(refusal is grpc.StatusCode.NOT_FOUND, name, it)
            self._check(it.secret not in str(answer), name, it)
        else:
            self._check(refusal is None, name, it)
            self.with_content += it.secret in str(answer)
        if name == "GetSession" and answer is not None:
            self._check(answer.session.state == state, name, it)

    async def write(self, it: Specimen, span: int) -> None:
        """One random content write."""
        state = it.state_after(span)
        name = self._rng.choice(list(WRITES))
        _, refusal = await self._call(name, WRITES[name], it)
        if state == GONE:
            self._check(refusal is grpc.StatusCode.NOT_FOUND, name, it)
        elif state in IDLING:
            self._check(refusal is None, name, it)
        else:
            self._check(refusal is grpc.StatusCode.FAILED_PRECONDITION, name, it)

    async def lists(self, user_id: str, sessions: list[Specimen], span: int) -> None:
        """A list and a search of all sessions of one user, each unfiltered and by a random state."""
        left = {it.id: state for it in sessions if (state := it.state_after(span)) != GONE}
        wanted = self._rng.choice(pb.SessionState.values()[1:])
        for asked in (pb.SessionState.values()[1:], [wanted]):
            expected = {id_: state for id_, state in left.items() if state in asked}
            fields: dict[str, Any] = {"user_id": user_id, "states": asked, "page_size": 1_000}
            search = pb.SearchSessionsRequest(**fields)
            search.metadata_filter.update({"secret": {"$exists": True}})
            answers: dict[str, Any] = {
                "ListSessions": await self._stub.ListSessions(pb.ListSessionsRequest(**fields)),
                "SearchSessions": await self._stub.SearchSessions(search),
            }
            for name, answer in answers.items():
                self.calls[name] += 1
                if {session.id: session.state for session in answer.sessions} != expected:
                    self.violations.append(f"{name} of {user_id}")

    async def _call(
        self, name: str, call: Callable[[Stub, Specimen], Awaitable[Any]], it: Specimen
    ) -> tuple[Any, grpc.StatusCode | None]:
        self.calls[name] += 1
        try:
            return await call(self._stub, it), None
        except grpc.aio.AioRpcError as error:
            return None, error.code()

    def _check(self, holds: bool, name: str, it: Specimen) -> None:
        if not holds:
            self.violations.append(f"{name} of {it}")
