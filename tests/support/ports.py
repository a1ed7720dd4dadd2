"""Ports for servers that need a fixed port, also after a restart."""

from __future__ import annotations

import random
import socket
from typing import Final

HOST: Final = "127.0.0.1"

# Below the ephemeral range, so that no other program takes one while its server restarts.
PORTS: Final = range(15_000, 32_000)


def free_port() -> int:
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")
