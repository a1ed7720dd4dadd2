"""The resources of a server process: its memory, and what an inspected one reports about itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from tests.support.clock import SharedClock
from tests.support.server import Server, start_server

T = TypeVar("T")

Counts: TypeAlias = dict[str, float]

_LISTEN, _TIME_WAIT = "0A", "06"
_LOOKS: Final = 600
_LOOK_SECONDS: Final = 0.05


def resident_bytes(server: Server) -> int:
    pages = Path(f"/proc/{server.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def connections(server: Server) -> int:
    """The open TCP connections of the server, as the kernel counts them.

    Not the process's open sockets: gRPC keeps some for a while after their connection has ended.
    """
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = [(int(row[1].rpartition(":")[2], 16), row[3]) for row in rows]
    return sum(port == server.port and state not in (_LISTEN, _TIME_WAIT) for port, state in ends)


class Inspected:
    """A server that reports its resources, and whose clock is set by hand."""

    def __init__(self, folder: Path, *, env: dict[str, str] | None = None) -> None:
        self._path = folder / "counts.json"
        self.clock = SharedClock(folder / "clock")
        program = ["-m", "tests.faults.subscriptions.inspected_server", str(self._path)]
        self.server = start_server(folder, env=env, clock=self.clock, program=program)

    async def counts(self) -> Counts:
        self._path.unlink(missing_ok=True)
        self.server.send(signal.SIGUSR1)
        report = await eventually(self._report, lambda text: text is not None)
        assert report is not None, "the server does not tell what it holds"
        counts: Counts = json.loads(report)
        return {**counts, "connections": connections(self.server)}

    async def _report(self) -> str | None:
        return self._path.read_text() if self._path.exists() else None


async def eventually(look: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """Polls until the wanted value appears or time is up; returns the last one."""
    for _ in range(_LOOKS):
        if wanted(seen := await look()):
            return seen
        await asyncio.sleep(_LOOK_SECONDS)
    return await look()
