"""Measures subscriptions: how fast a write reaches a thousand subscribers, the latency for one, and its cost."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc

from benchmarks import messages
from benchmarks.crowd import Crowd, crowd
from benchmarks.messages import SERVICE as BARE
from benchmarks.ours import SERVICE, Ours, connected
from benchmarks.plan import Plan
from benchmarks.processes import Server, echo_server, scratch, sessions_server
from benchmarks.report import Finding, Rounds
from benchmarks.rules_calls import ours
from sessions_proto.v1 import sessions_pb2 as pb

SUBSCRIBERS: Final = 1_000
MANY_SUBSCRIBERS: Final = 5_000
WRITES_PER_SECOND: Final = 20
"""The number of writes planned per second; each starts when all have received the previous one."""
IDLE_SUBSCRIBERS: Final = 2_000
MOST_BYTES: Final = 21_000
STARTS: Final = 5

Publish = Callable[[], Awaitable[object]]
Caller = Callable[[pb.AddMessageRequest], Awaitable[bytes]]


def fan_out(plan: Plan) -> list[Finding]:
    """One write to a thousand subscribers, relative to a bare stream server."""
    with ours() as server, echo_server() as bare:
        found, cost = asyncio.run(_fan_out(plan, server, bare))
    what = f"one AddMessage to {SUBSCRIBERS:,} subscribers, beside a bare stream"
    numbers = {
        "bare stream in events/s": found.first,
        "ours in events/s": found.second,
        "bare stream's CPU in µs an event": cost.first,
        "our CPU in µs an event": cost.second,
    }
    return [Finding("fan_out", what, 0.85, found.ratio, at_least=True, numbers=numbers)]


async def _fan_out(plan: Plan, server: Ours, bare: Server) -> tuple[Rounds, Rounds]:
    """The events per second, and the cost of each for its server."""
    session = server.session()
    add, subscribe = messages.add_message(session), pb.SubscribeRequest(session_id=session)
    writes = max(int(plan.seconds * WRITES_PER_SECOND), 1)
    found, cost = Rounds(), Rounds()
    async with (
        grpc.aio.insecure_channel(bare.address) as bare_channel,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        publish, write = _caller(bare_channel, f"{BARE}/Publish"), _caller(channel, f"{SERVICE}/AddMessage")
        with crowd() as first, crowd() as second:
            await first.subscribe(bare.address, f"{BARE}/Subscribe", [subscribe] * SUBSCRIBERS)
            await second.subscribe(server.address, f"{SERVICE}/Subscribe", [subscribe] * SUBSCRIBERS)
            for counts in (False, *[True] * plan.rounds):
                one = await _fanned_out(
                    first, lambda: publish(add), writes=writes, subscribers=SUBSCRIBERS, process=bare
                )
                two = await _fanned_out(
                    second, lambda: write(add), writes=writes, subscribers=SUBSCRIBERS, process=server.process
                )
                if counts:
                    for rounds, before, after in zip((found, cost), one, two, strict=True):
                        rounds.first.append(before)
                        rounds.second.append(after)
    return found, cost


async def _fanned_out(
    listening: Crowd, publish: Publish, *, writes: int, subscribers: int, process: Server
) -> tuple[float, float]:
    """The events per second, and the CPU time per event in µs."""
    before, spent = listening.received, process.cpu_seconds()
    started = time.perf_counter()
    for number in range(1, writes + 1):
        await publish()
        await listening.until(before + number * subscribers)
    events, seconds = writes * subscribers, time.perf_counter() - started
    return events / seconds, (process.cpu_seconds() - spent) / events * 1_000_000


def growth_subscribers(plan: Plan) -> list[Finding]:
    """One write to a thousand subscribers, and to five thousand, of the same server."""
    with ours() as server:
        cost = asyncio.run(_growth(plan, server))
    what = f"our CPU for an event to each of {MANY_SUBSCRIBERS:,} subscribers, beside {SUBSCRIBERS:,}"
    numbers = {
        f"µs an event with {SUBSCRIBERS:,}": cost.first,
        f"µs an event with {MANY_SUBSCRIBERS:,}": cost.second,
    }
    return [Finding("growth_subscribers", what, 1.2, cost.ratio, at_least=False, numbers=numbers)]


async def _growth(plan: Plan, server: Ours) -> Rounds:
    """The CPU time of each event, in µs, with a thousand subscribers and with more. Both sides send the same number of
    events."""
    cost = Rounds()
    events = max(int(plan.seconds * WRITES_PER_SECOND), MANY_SUBSCRIBERS // SUBSCRIBERS) * SUBSCRIBERS
    async with grpc.aio.insecure_channel(server.address) as channel:
        write = _caller(channel, f"{SERVICE}/AddMessage")
        with crowd() as few, crowd() as many:
            sides = [(few, SUBSCRIBERS, server.session()), (many, MANY_SUBSCRIBERS, server.session())]
            for listening, subscribers, session in sides:
                requests = [pb.SubscribeRequest(session_id=session)] * subscribers
                await listening.subscribe(server.address, f"{SERVICE}/Subscribe", requests)
            for counts in (False, *[True] * plan.rounds):
                spent = [
                    await _fanned_out(
                        listening,
                        partial(write, messages.add_message(session)),
                        writes=events // subscribers,
                        subscribers=subscribers,
                        process=server.process,
                    )
                    for listening, subscribers, session in sides
                ]
                if counts:
                    for rounds, (_, micros) in zip((cost.first, cost.second), spent, strict=True):
                        rounds.append(micros)
    return cost


@dataclass(frozen=True, slots=True)
class _Receipts:
    echo_seconds: list[float]
    receipt_seconds: list[float]


def receipt(plan: Plan) -> list[Finding]:
    """The latency of a write for the only subscriber of a quiet server."""
    with ours() as server, echo_server() as bare:
        found = asyncio.run(_receipts(plan, server, bare.address))
    echo = statistics.median(found.echo_seconds) * 1_000
    p50, p99 = (statistics.quantiles(found.receipt_seconds, n=100)[at - 1] * 1_000 for at in (50, 99))
    what = "commit to receipt by an idle subscriber, p99; the echo's p50 counts as 1 ms at least"
    numbers = {"echo p50 in ms": echo, "receipt p50 in ms": p50, "receipt p99 in ms": p99}
    return [Finding("receipt", what, 10 * max(echo, 1), p99, at_least=False, unit="ms", numbers=numbers)]


async def _receipts(plan: Plan, server: Ours, bare: str) -> _Receipts:
    """The event's time is set before its commit, so the latency includes the commit."""
    session = server.session()
    add, subscribe = messages.add_message(session), pb.SubscribeRequest(session_id=session)
    found = _Receipts([], [])

    def on_message(message: bytes) -> None:
        arrived = time.time()
        response = pb.SubscribeResponse.FromString(message)
        if response.HasField("event"):
            found.receipt_seconds.append(arrived - response.event.time.ToMicroseconds() / 1_000_000)

    async with (
        grpc.aio.insecure_channel(bare) as bare_channel,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        echo, write = _caller(bare_channel, f"{BARE}/Echo"), _caller(channel, f"{SERVICE}/AddMessage")
        with crowd(on_message=on_message) as listening:
            await listening.subscribe(server.address, f"{SERVICE}/Subscribe", [subscribe])
            for _ in range(plan.repeats):
                started = time.perf_counter()
                await echo(add)
                found.echo_seconds.append(time.perf_counter() - started)
                wanted = listening.received + 1
                await write(add)
                await listening.until(wanted)
    return found


def _caller(channel: grpc.aio.Channel, method: str) -> Caller:
    """Calls the method and ignores its response."""
    call: grpc.aio.UnaryUnaryMultiCallable[pb.AddMessageRequest, bytes] = channel.unary_unary(
        f"/{method}", pb.AddMessageRequest.SerializeToString
    )
    return call


def memory(plan: Plan) -> list[Finding]:
    """The memory of an idle subscriber."""
    with scratch() as folder, sessions_server(folder) as process, connected(process) as server:
        before, after = asyncio.run(_memory(server, process))
    each = (after - before) / IDLE_SUBSCRIBERS / 1_000
    what = f"memory of an idle subscriber, {IDLE_SUBSCRIBERS:,} on as many sessions"
    numbers = {"resident bytes before": before, "resident bytes after": after}
    return [Finding("memory", what, MOST_BYTES / 1_000, each, at_least=False, unit="kB", numbers=numbers)]


async def _memory(server: Ours, process: Server) -> tuple[int, int]:
    requests = [pb.SubscribeRequest(session_id=server.session()) for _ in range(IDLE_SUBSCRIBERS)]
    with crowd() as warming:
        await warming.subscribe(server.address, f"{SERVICE}/Subscribe", requests[:100])
    with crowd() as listening:
        before = process.resident_bytes()
        await listening.subscribe(server.address, f"{SERVICE}/Subscribe", requests)
        return before, process.resident_bytes()


def start(plan: Plan) -> list[Finding]:
    """The time from starting a server on an empty folder to its first response."""
    seconds = [_start() for _ in range(STARTS)]
    what = "start of the server on an empty folder to its first answer"
    measured = statistics.median(seconds)
    return [Finding("start", what, 0.5, measured, at_least=False, unit="s", numbers={"starts in s": seconds})]


def _start() -> float:
    with scratch() as folder:
        started = time.perf_counter()
        with sessions_server(folder) as process, connected(process) as server:
            server.session()
            return time.perf_counter() - started
