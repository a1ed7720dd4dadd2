"""Ends the loop of grpc.aio's server from inside, as an internal error would.

Run as a program, it is the server itself, whose loop ends at the next call after each SIGUSR1.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any, Final

from sessions_server.app import serve
from sessions_server.serving import Addresses
from sessions_server.settings import read_settings
from tests.support.clocked_server import announce

TAKES_UP_A_CALL: Final = "_schedule_rpc_coro"
"""The coroutine for which the server's loop creates a task at each call."""


def end_rpc_loop(loop: asyncio.AbstractEventLoop) -> None:
    """The next call accepted by a server on this event loop ends that server's loop."""
    before = loop.get_task_factory()

    def fail_once(on: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Future[Any]:
        if getattr(coro, "__name__", "") == TAKES_UP_A_CALL:
            loop.set_task_factory(before)
            coro.close()
            raise RuntimeError("the server's own loop ends here")
        return asyncio.Task(coro, loop=on, **kwargs)

    assert before is None, "the loop has a task factory already"
    loop.set_task_factory(fail_once)


def _ready(addresses: Addresses) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, end_rpc_loop, loop)
    announce(addresses)


def main() -> None:
    asyncio.run(serve(read_settings(), ready=_ready))


if __name__ == "__main__":
    main()
