"""A server inside another program: an in-memory database and an event loop in a thread, discarded on close.

Clients import `sessions_server.embedded` only by name at run time: client and server do not depend on each other.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from pathlib import Path

from sessions_server.app import serve_until
from sessions_server.commands.running import new_loop
from sessions_server.settings import read_settings

_STARTING = threading.Lock()
"""Serializes starts: Alembic keeps the current migration in module globals, which threads share:
https://github.com/skypilot-org/skypilot/pull/9058"""


class InMemory:
    """A running server that listens on the given Unix sockets: one for gRPC, one for unary calls."""

    def __init__(self, address: str, local: str) -> None:
        self._address = address
        self._local = Path(local)
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, name="sessions in memory", daemon=True)
        with _STARTING:
            self._thread.start()
            self._loop, self._stop = self._ready.result()

    def close(self) -> None:
        """Stops the server and discards its data. Safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
                return
            raise

    async def _serve(self) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        settings = read_settings(
            listen=self._address, database_url="sqlite+aiosqlite:///:memory:", http_listen=""
        )
        await serve_until(
            stop, settings, ready=lambda _: self._ready.set_result((loop, stop)), local=self._local
        )
