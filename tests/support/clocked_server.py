"""The server's own program, but by the clock whose file is the first argument. The other arguments are settings."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sessions_server.app import serve
from sessions_server.settings import Settings
from tests.support.clock import SharedClock


def announce(address: str, http_url: str = "") -> None:
    sys.stdout.write(f"listening on {address}\n")
    if http_url:
        sys.stdout.write(f"HTTP on {http_url}\n")
    sys.stdout.flush()


def main() -> None:
    clock = SharedClock(Path(sys.argv[1]))
    asyncio.run(serve(Settings(), clock=clock, ready=announce))


if __name__ == "__main__":
    main()
