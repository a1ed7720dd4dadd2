"""The server's own program, to which wake-ups of other replicas get lost: of a hundred as many as its argument says."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Sequence

from sessions_server import app
from sessions_server.domain.hints import Channel
from sessions_server.settings import Settings
from sessions_server.storage.notify import NotifyChannel
from tests.support.clocked_server import announce


class LossyChannel:
    """Loses packets on their way in, and the news that some were missed too."""

    def __init__(self, channel: Channel, *, percent: int) -> None:
        self._channel = channel
        self._percent = percent

    async def send(self, packets: Sequence[bytes]) -> None:
        await self._channel.send(packets)

    async def listen(self, received: Callable[[bytes], None], missed: Callable[[], None]) -> None:
        def take(packet: bytes) -> None:
            if not self._is_lost():
                received(packet)

        def miss() -> None:
            if not self._is_lost():
                missed()

        await self._channel.listen(take, miss)

    def _is_lost(self) -> bool:
        return random.randrange(100) < self._percent


def main() -> None:
    percent = int(sys.argv[1])
    app.NotifyChannel = lambda url: LossyChannel(  # type: ignore[assignment,misc]
        NotifyChannel(url), percent=percent
    )
    asyncio.run(app.serve(Settings(), ready=announce))


if __name__ == "__main__":
    main()
