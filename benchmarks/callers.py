"""Callers that repeat one unary call, each on its own stream, with a new request id for every write.

h2load can only repeat one fixed body. This runs in a separate process, and waits for calls in flight at the end, so
that the numbers of answered and of stored messages are equal.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from benchmarks.http2 import Connection
from benchmarks.load import CONNECTIONS, BenchmarkError, Call
from benchmarks.messages import FRAME_BYTES, framed
from benchmarks.processes import measured_in_child

REQUEST_ID: Final = str(uuid.UUID(int=0))
"""A placeholder in a request, replaced by a new id for each call."""


@dataclass(frozen=True, slots=True)
class Answered:
    rate: float
    """Responses per second."""
    succeeded: int
    p50_micros: float
    p99_micros: float


def call(calls: Sequence[Call], *, callers: int, seconds: float, connections: int = CONNECTIONS) -> Answered:
    """Repeats the calls, all of one method, with this many concurrent callers. Raises BenchmarkError if one is
    refused."""
    first = calls[0]
    task = {
        "address": first.address,
        "method": first.method,
        "bodies": [base64.b64encode(framed(each.request)).decode() for each in calls],
        "answer_bytes": min(each.answer_bytes for each in calls),
        "callers": callers,
        "connections": min(connections, callers),
        "seconds": seconds,
    }
    what = f"Calls of {first.method}"
    return Answered(**measured_in_child("benchmarks.callers", what=what, given=json.dumps(task)))


class _Callers(Connection):
    def __init__(self, task: dict[str, Any], bodies: list[bytes], callers: int) -> None:
        super().__init__(task["address"], task["method"])
        self._bodies = bodies
        self._callers = callers
        self._least = FRAME_BYTES + task["answer_bytes"]
        self._fresh = uuid.uuid4().hex[:20]
        self._count = 0
        self._began: dict[int, tuple[int, float]] = {}
        self._received: dict[int, int] = {}
        self._until = 0.0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.micros: list[float] = []

    def begin(self, seconds: float) -> None:
        self._until = time.perf_counter() + seconds
        for caller in range(self._callers):
            self._call(caller)
        self.flush()

    def data(self, stream: int, payload: bytes) -> None:
        self._received[stream] = self._received.get(stream, 0) + len(payload)

    def ended(self, stream: int) -> None:
        caller, began = self._began.pop(stream)
        if self._received.pop(stream, 0) < self._least:
            self.broke("a call was refused, or its answer was cut short.")
            return
        now = time.perf_counter()
        self.micros.append((now - began) * 1_000_000)
        if now < self._until:
            self._call(caller)
        elif not self._began and not self.over.done():
            self.over.set_result(None)

    def broke(self, what: str) -> None:
        if not self.over.done():
            self.over.set_exception(BenchmarkError(what))

    def _call(self, caller: int) -> None:
        body = self._bodies[caller % len(self._bodies)]
        self._count += 1
        fresh = f"{self._fresh}{self._count:016}".encode()
        stream = self.request(body.replace(REQUEST_ID.encode(), fresh, 1))
        self._began[stream] = (caller, time.perf_counter())


async def _run(task: dict[str, Any]) -> Answered:
    bodies = [base64.b64decode(each) for each in task["bodies"]]
    host, _, port = task["address"].rpartition(":")
    connections = task["connections"]
    running: list[_Callers] = []
    for number in range(connections):
        own = bodies[number::connections] if len(bodies) >= connections else bodies
        callers = len(range(number, task["callers"], connections))
        _, made = await asyncio.get_running_loop().create_connection(
            partial(_Callers, task, own, callers),
            host,
            int(port),
        )
        running.append(made)
    started = time.perf_counter()
    for each in running:
        each.begin(task["seconds"])
    await asyncio.gather(*(each.over for each in running))
    spent = time.perf_counter() - started
    micros = sorted(micro for each in running for micro in each.micros)
    p50, p99 = micros[len(micros) // 2], micros[len(micros) * 99 // 100]
    return Answered(len(micros) / spent, len(micros), p50, p99)


def main() -> int | str:
    from benchmarks.echo_server import event_loop

    with asyncio.Runner(loop_factory=event_loop) as runner:
        try:
            found = runner.run(_run(json.load(sys.stdin)))
        except BenchmarkError as error:
            return str(error)
    sys.stdout.write(json.dumps({name: getattr(found, name) for name in Answered.__slots__}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
