"""Adds messages with the asynchronous Python client through one pipeline, and prints the rate.

python -m benchmarks.python_pipeline TARGET SECONDS SESSION...
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.echo_server import event_loop
from benchmarks.processes import measured_in_child
from benchmarks.text import CONTENT, ROLE
from sessions_client import AsyncClient

UNDER_WAY: Final = 512
"""How many adds are in flight at any time."""


@dataclass(frozen=True, slots=True)
class Added:
    rate: float
    """Messages per second."""
    succeeded: int


def pipeline(address: str, sessions: Sequence[str], *, seconds: float) -> Added:
    """Adds messages in a separate process, always 512 at a time. Raises BenchmarkError if one is refused."""
    arguments = (address, seconds, *sessions)
    return Added(**measured_in_child("benchmarks.python_pipeline", *arguments, what="The pipeline"))


async def measure(target: str, seconds: float, sessions: Sequence[str]) -> Added:
    succeeded = 0
    async with AsyncClient(target) as client, client.pipeline() as adding:
        started = time.perf_counter()
        end = started + seconds

        async def caller(session_id: str) -> None:
            nonlocal succeeded
            while time.perf_counter() < end:
                await adding.add_message(session_id, role=ROLE, content=CONTENT)
                succeeded += 1

        await asyncio.gather(*(caller(sessions[number % len(sessions)]) for number in range(UNDER_WAY)))
        return Added(succeeded / (time.perf_counter() - started), succeeded)


def main() -> None:
    with asyncio.Runner(loop_factory=event_loop) as runner:
        found = runner.run(measure(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
    sys.stdout.write(json.dumps({name: getattr(found, name) for name in Added.__slots__}) + "\n")


if __name__ == "__main__":
    main()
