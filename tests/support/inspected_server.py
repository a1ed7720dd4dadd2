"""The server's program, which reports its resources at SIGUSR1, and checks the credentials of open streams often.

Its arguments are the file for the counts, and the clock's file.
"""

from __future__ import annotations

import asyncio
import functools
import json
import signal
import sys
from pathlib import Path
from typing import Final

from sessions_server import app, optional_parts
from sessions_server.log.hub import Hub
from sessions_server.rpc import calls
from sessions_server.rpc.prometheus import PrometheusMetrics
from sessions_server.rpc.streams import Streams
from sessions_server.serving import Addresses
from sessions_server.settings import read_settings
from tests.support.clock import SharedClock
from tests.support.clocked_server import announce

RECHECK_SECONDS: Final = 0.05


class Inspector:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._hub = Hub()
        self._metrics = PrometheusMetrics()

    def install(self) -> None:
        """Replaces parts of the composition root by ones that are visible here."""
        vars(app)["Hub"] = lambda: self._hub
        vars(optional_parts)["Metrics"] = lambda: self._metrics
        vars(calls)["Streams"] = functools.partial(Streams, recheck_seconds=RECHECK_SECONDS)

    def ready(self, addresses: Addresses) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._tell)
        announce(addresses)

    def _tell(self) -> None:
        counts = {
            "tasks": len(asyncio.all_tasks()),
            "watched sessions": len(self._hub.watched()),
            "open streams": self._metrics.registry.get_sample_value(
                "sessions_rpc_open_streams", {"method": "Subscribe"}
            ),
        }
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(counts))
        unfinished.rename(self._path)


def main() -> None:
    inspector = Inspector(Path(sys.argv[1]))
    inspector.install()
    asyncio.run(app.serve(read_settings(), clock=SharedClock(Path(sys.argv[2])), ready=inspector.ready))


if __name__ == "__main__":
    main()
