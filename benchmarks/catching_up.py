"""Measures how long a caller waits while a thousand subscriptions of one session catch up at once.

Run by hand: `.venv/bin/python -m benchmarks.catching_up --subscribers 1000 --history 300`; with `--tree` against the
server of another checkout.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

import grpc

from benchmarks.crowd import crowd
from benchmarks.ours import SERVICE, Ours, connected
from benchmarks.processes import ROOT, scratch, sessions_server
from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc

ALONE_SECONDS = 1.0


async def reads(address: str, session: str, over: asyncio.Event) -> list[float]:
    """How long each GetSession took, one after another, until `over` is set."""
    request, seconds = pb.GetSessionRequest(session_id=session), []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = pb_grpc.SessionServiceStub(channel)
        await stub.GetSession(request)
        while not over.is_set():
            began = time.perf_counter()
            await stub.GetSession(request)
            seconds.append(time.perf_counter() - began)
    return seconds


async def measure(server: Ours, subscribers: int, history: int) -> str:
    session, other = server.session(history=history), server.session()
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(ALONE_SECONDS, over.set)
    alone = await reads(server.address, other, over)
    over = asyncio.Event()
    with crowd() as followers:
        began = time.perf_counter()
        reading = asyncio.create_task(reads(server.address, other, over))
        request = pb.SubscribeRequest(session_id=session, after_sequence=0)
        await followers.subscribe(server.address, f"{SERVICE}/Subscribe", [request] * subscribers)
        await followers.until(subscribers * (history + 2))  # one checkpoint each, and the events
        took = time.perf_counter() - began
        over.set()
        seconds = await reading
    return (
        f"{subscribers:,} subscriptions from 0, {history + 1} events each: all served after {took:.1f} s; meanwhile a "
        f"caller got {len(seconds):,} answers, p50 {_ms(statistics.median(seconds))}, the slowest {_ms(max(seconds))}; "
        f"alone p50 {_ms(statistics.median(alone))}"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", type=int, default=1_000)
    parser.add_argument("--history", type=int, default=300)
    parser.add_argument("--tree", type=Path, default=ROOT)
    asked = parser.parse_args()
    with (
        scratch() as folder,
        sessions_server(folder, root=asked.tree) as process,
        connected(process) as server,
    ):
        sys.stdout.write(asyncio.run(measure(server, asked.subscribers, asked.history)) + "\n")


if __name__ == "__main__":
    main()
