"""One worker as seen by the supervisor: started, watched, stopped.

The two are connected by a socket pair. The settings are sent one way and the addresses the other; after that nothing is
sent, and closing the supervisor's end, by a stop or a kill, tells the worker to stop.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys

from sessions_server.serving import Addresses
from sessions_server.settings import PREFIX, Settings, to_json

logger = logging.getLogger(__name__)


class Worker:
    def __init__(self, number: int, settings: Settings) -> None:
        self.number = number
        self.addresses: Addresses | None = None
        """Set while it serves."""
        self._settings = to_json(settings) + b"\n"
        self._process: asyncio.subprocess.Process | None = None
        self._leash: socket.socket | None = None

    async def start(self) -> Addresses | None:
        """Starts a process. Returns its addresses once it serves; None if it has exited."""
        self._release()
        self._leash, end = socket.socketpair()
        with end:
            try:
                self._process = await _spawn(self.number, end)
            except OSError as error:
                logger.error("no process can be started for worker %d: %s", self.number, error.strerror)
                return None
        said = await _exchange(self._leash, self._settings)
        if not said:
            await self._process.wait()
            return None
        self.addresses = Addresses(**json.loads(said))
        logger.info("worker %d serves as process %d", self.number, self._process.pid)
        return self.addresses

    async def ended(self) -> int:
        """Waits for its exit. Returns the exit code; a negative one is the signal that killed it."""
        if self._process is None:
            return 1
        code = await self._process.wait()
        self._process = self.addresses = None
        return code

    async def stop(self) -> int:
        """Makes it drain, if it is running. Returns the exit code; 0 if it had not started far enough to drain."""
        self._release()
        if self._process is None:
            return 0
        code = await self.ended()
        return 0 if code == -signal.SIGTERM else code

    def _release(self) -> None:
        if self._leash is not None:
            self._leash.close()


async def _spawn(number: int, parent: socket.socket) -> asyncio.subprocess.Process:
    """Starts worker `number` with its end of the socket pair."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sessions_server", "worker"),
        *("--number", str(number), "--parent", str(parent.fileno())),
        stdin=asyncio.subprocess.DEVNULL,
        pass_fds=(parent.fileno(),),
        env={name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)},
        process_group=0,  # Ctrl-C in a terminal reaches only the parent
    )


async def _exchange(leash: socket.socket, settings: bytes) -> bytes:
    """Sends the settings. Returns the line that the worker sends once it serves; empty if it exits before."""
    leash.setblocking(False)
    loop, said = asyncio.get_running_loop(), b""
    try:
        await loop.sock_sendall(leash, settings)
        while not said.endswith(b"\n"):
            if not (part := await loop.sock_recv(leash, 4096)):
                return b""
            said += part
    except OSError:
        return b""
    return said
