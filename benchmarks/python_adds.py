"""Adds messages with the asynchronous Python client, through a database file or a server, and prints the rate.

python -m benchmarks.python_adds TARGET SECONDS CALLERS
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Final

from benchmarks.peers.repeat import CALLERS, SESSIONS
from benchmarks.text import CONTENT, ROLE
from sessions_client import AsyncClient


async def measure(target: str, seconds: float, callers: int) -> dict[str, float]:
    """The rate of this many callers on four sessions in messages per second, and the median time of a call in µs."""
    async with AsyncClient(target) as client:
        made = [await client.sessions.create(user_id="u1") for _ in range(SESSIONS)]
        adding: Final = _Adding(client, [session.id for session in made])
        await adding.run(callers=CALLERS, seconds=seconds / 2)  # warms up both ends
        took = await adding.run(callers=callers, seconds=seconds)
    return {"p50_micros": statistics.median(took) * 1e6, "rate": len(took) / seconds}


class _Adding:
    def __init__(self, client: AsyncClient, sessions: list[str]) -> None:
        self._client = client
        self._sessions = sessions

    async def run(self, *, callers: int, seconds: float) -> list[float]:
        """The duration of each call, in seconds."""
        end = time.perf_counter() + seconds
        took: list[float] = []

        async def caller(number: int) -> None:
            session = self._sessions[number % SESSIONS]
            while (began := time.perf_counter()) < end:
                await self._client.sessions.add_message(session, role=ROLE, content=CONTENT)
                took.append(time.perf_counter() - began)

        await asyncio.gather(*(caller(number) for number in range(callers)))
        return took


if __name__ == "__main__":
    target, seconds, callers = sys.argv[1:]
    sys.stdout.write(json.dumps(asyncio.run(measure(target, float(seconds), int(callers)))) + "\n")
