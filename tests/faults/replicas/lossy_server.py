"""The server's program, which loses as many of a hundred incoming wake-ups as its argument says."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable

from sessions_server.app import serve
from sessions_server.settings import read_settings
from sessions_server.storage.postgres import backend
from sessions_server.storage.postgres.notify import NotifyChannel
from tests.support.clocked_server import announce

PERCENT = int(sys.argv[1])


class LossyChannel(NotifyChannel):
    """Loses incoming packets, and also the notice that some were missed."""

    async def listen(self, received: Callable[[bytes], None], missed: Callable[[], None]) -> None:
        await super().listen(
            lambda packet: None if is_lost() else received(packet), lambda: None if is_lost() else missed()
        )


def is_lost() -> bool:
    return random.randrange(100) < PERCENT


def main() -> None:
    setattr(backend, "NotifyChannel", LossyChannel)  # noqa: B010  # the backend imports it without exporting it
    asyncio.run(serve(read_settings(), ready=announce))


if __name__ == "__main__":
    main()
