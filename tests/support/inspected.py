"""A server that reports its own resources."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TypeAlias

from tests.support.clock import SharedClock
from tests.support.server import Server, start_server
from tests.support.waiting import eventually

Counts: TypeAlias = dict[str, float]

_LISTEN, _TIME_WAIT = "0A", "06"


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
        program = ["-m", "tests.support.inspected_server", str(self._path)]
        self.server = start_server(folder, env=env, clock=self.clock, program=program)

    async def counts(self) -> Counts:
        self._path.unlink(missing_ok=True)
        self.server.send(signal.SIGUSR1)
        report = await eventually(self._report, lambda text: text is not None)
        assert report is not None, "the server does not report what it holds"
        counts: Counts = json.loads(report)
        return {**counts, "connections": connections(self.server)}

    async def _report(self) -> str | None:
        return self._path.read_text() if self._path.exists() else None
