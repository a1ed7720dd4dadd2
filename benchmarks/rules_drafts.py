"""Measures drafts: the cost of many watchers of one, with pieces paced and unpaced, and the latency of a token."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import grpc

from benchmarks import messages
from benchmarks.crowd import crowd
from benchmarks.messages import SERVICE as BARE
from benchmarks.ours import SERVICE, Ours
from benchmarks.processes import echo_server
from benchmarks.report import Finding
from benchmarks.rules_calls import ours
from sessions_proto.v1 import drafts_pb2 as drafts_pb, drafts_pb2_grpc, sessions_pb2 as pb

if TYPE_CHECKING:
    from benchmarks.plan import Plan

WATCHERS: Final = 200
TOKENS_PER_SECOND: Final = 60
TOKEN: Final = "token "
WRITERS: Final = 50
DRAFTS_PER_REPEAT: Final = 10
MOST_MEGABYTES: Final = 5


class Writer:
    """Writes drafts of one session, token by token."""

    def __init__(self, channel: grpc.aio.Channel, session_id: str) -> None:
        self._stub: drafts_pb2_grpc.DraftServiceAsyncStub = drafts_pb2_grpc.DraftServiceStub(channel)
        self._session_id = session_id
        self._number = 0
        self._position = 0

    async def write(self) -> None:
        request = drafts_pb.WriteDraftRequest(
            session_id=self._session_id,
            message_id=f"m-{self._number}",
            role="assistant",
            position=self._position,
            text=TOKEN,
        )
        self._position = (await self._stub.WriteDraft(request)).position

    async def commit(self) -> None:
        """The next token starts another draft."""
        request = drafts_pb.CommitDraftRequest(session_id=self._session_id, message_id=f"m-{self._number}")
        await self._stub.CommitDraft(request)
        self._number, self._position = self._number + 1, 0

    async def discard(self) -> None:
        """The next token starts another draft."""
        request = drafts_pb.WriteDraftRequest(
            session_id=self._session_id, message_id=f"m-{self._number}", discard=True
        )
        await self._stub.WriteDraft(request)
        self._number, self._position = self._number + 1, 0


def subscribe(session_id: str, *, paced: bool) -> pb.SubscribeRequest:
    request = pb.SubscribeRequest(session_id=session_id, include_drafts=True)
    if not paced:
        request.draft_interval.SetInParent()
    return request


@dataclass(frozen=True, slots=True)
class _Shares:
    """Fractions of a core while tokens are sent."""

    paced: list[float] = field(default_factory=list)
    unpaced: list[float] = field(default_factory=list)


def drafts(plan: Plan) -> list[Finding]:
    """200 watchers of a draft at 60 tokens per second, with pieces paced and unpaced."""
    with ours() as server:
        found = asyncio.run(_shares(plan, server))
    paced, unpaced = statistics.median(found.paced), statistics.median(found.unpaced)
    what = f"CPU of {WATCHERS} watchers at {TOKENS_PER_SECOND} tokens/s"
    numbers = {"paced, of a core": found.paced, "unpaced, of a core": found.unpaced}
    return [
        Finding(
            "drafts_pacing", f"{what}, beside unpaced", 0.4, paced / unpaced, at_least=False, numbers=numbers
        ),
        Finding("drafts", f"{what}, of a core", 0.25, paced, at_least=False, unit="cores", numbers=numbers),
    ]


async def _shares(plan: Plan, server: Ours) -> _Shares:
    found, session = _Shares(), server.session()
    async with grpc.aio.insecure_channel(server.address) as channel:
        writer = Writer(channel, session)
        for counts in (False, *[True] * plan.rounds):
            for paced, shares in ((True, found.paced), (False, found.unpaced)):
                request = subscribe(session, paced=paced)
                with crowd() as watching:
                    await watching.subscribe(server.address, f"{SERVICE}/Subscribe", [request] * WATCHERS)
                    share = await _share(writer, server, seconds=plan.seconds)
                if counts:
                    shares.append(share)
    return found


async def _share(writer: Writer, server: Ours, *, seconds: float) -> float:
    began, before = time.perf_counter(), server.process.cpu_seconds()
    for number in range(int(seconds * TOKENS_PER_SECOND)):
        await asyncio.sleep(max(0.0, began + number / TOKENS_PER_SECOND - time.perf_counter()))
        await writer.write()
    await writer.commit()
    return (server.process.cpu_seconds() - before) / (time.perf_counter() - began)


def drafts_memory(plan: Plan) -> list[Finding]:
    """The memory left by drafts that have ended."""
    count = plan.repeats * DRAFTS_PER_REPEAT
    with ours() as server:
        before, after = asyncio.run(_memory(server, count))
    what = f"growth of memory over {count:,} drafts"
    numbers = {"resident bytes before": before, "resident bytes after": after}
    grown = (after - before) / 1_000_000
    return [Finding("drafts_memory", what, MOST_MEGABYTES, grown, at_least=False, unit="MB", numbers=numbers)]


async def _memory(server: Ours, count: int) -> tuple[int, int]:
    """The memory after half as many drafts have warmed up the server, and after this many more. They are discarded,
    because the database's caches grow with what is stored."""
    sessions = [server.session() for _ in range(WRITERS)]

    async def write(session_id: str, drafts: int) -> None:
        writer = Writer(channel, session_id)
        for _ in range(drafts):
            await writer.write()
            await writer.discard()

    async with grpc.aio.insecure_channel(server.address) as channel:
        with crowd() as watching:
            requests = [subscribe(session, paced=True) for session in sessions]
            await watching.subscribe(server.address, f"{SERVICE}/Subscribe", requests)
            await asyncio.gather(*(write(session, count // 2 // WRITERS) for session in sessions))
            before = server.process.resident_bytes()
            await asyncio.gather(*(write(session, count // WRITERS) for session in sessions))
            return before, server.process.resident_bytes()


def drafts_receipt(plan: Plan) -> list[Finding]:
    """The latency of an unpaced token for a draft's only watcher."""
    with ours() as server, echo_server() as bare:
        echoes, receipts = asyncio.run(_receipts(plan, server, bare.address))
    echo = statistics.median(echoes)
    p50, p99 = (statistics.quantiles(receipts, n=100)[at - 1] for at in (50, 99))
    what = "token to its only watcher, unpaced, p99 beside the echo's p50"
    numbers = {"echo p50 in ms": echo * 1_000, "token p50 in ms": p50 * 1_000, "token p99 in ms": p99 * 1_000}
    return [Finding("drafts_receipt", what, 20, p99 / echo, at_least=False, numbers=numbers)]


async def _receipts(plan: Plan, server: Ours, bare: str) -> tuple[list[float], list[float]]:
    """The durations of an echo, and from sending a token to receiving it, in seconds."""
    session, echoes, receipts = server.session(), list[float](), list[float]()
    request = messages.add_message(session)
    async with (
        grpc.aio.insecure_channel(bare) as bare_channel,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        writer = Writer(channel, session)
        echo: grpc.aio.UnaryUnaryMultiCallable[pb.AddMessageRequest, bytes] = bare_channel.unary_unary(
            f"/{BARE}/Echo", pb.AddMessageRequest.SerializeToString
        )
        with crowd() as watching:
            await watching.subscribe(
                server.address, f"{SERVICE}/Subscribe", [subscribe(session, paced=False)]
            )
            for _ in range(plan.repeats):
                started = time.perf_counter()
                await echo(request)
                echoes.append(time.perf_counter() - started)
                wanted, started = watching.received + 1, time.perf_counter()
                await asyncio.gather(writer.write(), watching.until(wanted))
                receipts.append(time.perf_counter() - started)
    return echoes, receipts
