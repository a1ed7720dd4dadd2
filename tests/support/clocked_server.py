"""The server's program with the clock in the file of the first argument. The other arguments are settings."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sessions_server.app import serve
from sessions_server.serving import Addresses
from sessions_server.settings import read_settings
from tests.support.clock import SharedClock


def announce(addresses: Addresses) -> None:
    sys.stdout.write(f"listening on {addresses.rpc}\n")
    if addresses.http:
        sys.stdout.write(f"HTTP on {addresses.http}\n")
    sys.stdout.flush()


def main() -> None:
    clock = SharedClock(Path(sys.argv[1]))
    asyncio.run(serve(read_settings(), clock=clock, ready=announce))


if __name__ == "__main__":
    main()
