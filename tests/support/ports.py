"""Ports for servers that need a fixed port, also after a restart."""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator
from typing import Final

HOST: Final = "127.0.0.1"

# Below the ephemeral range, so that no other program takes one while its server restarts.
PORTS: Final = range(15_000, 32_000)


def free_port() -> int:
    """A port that no server of this test run has or will have: it is free until its server listens, and while the
    server restarts."""
    for port in itertools.islice(_ports, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


def _own_ports() -> Iterator[int]:
    """The ports of this process, each once before any is repeated. The processes of pytest-xdist share none."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = PORTS[worker::workers]
    return itertools.cycle(random.sample(own, len(own)))


_ports: Final = _own_ports()
