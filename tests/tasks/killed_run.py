"""A program that runs a task and is repeatedly killed with -9 at a client call.

Reads lines of JSON from standard input: the address, the run, and the number of the call at which to die (0 for never).
Each is done by a fork of this process, which has imported everything and connected to nothing. Writes for each how many
calls were made and how the fork ended.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from sessions_client import AsyncClient
from sessions_tasks import run_task

importlib.import_module("openai")  # otherwise each fork would


class Mortal:
    """A client's sessions. The process is killed at a call: after its response, or while it is in flight."""

    def __init__(self, sessions: Any, *, dies_at: int, under_way: bool) -> None:
        self._sessions, self._dies_at, self._under_way = sessions, dies_at, under_way
        self.calls = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._sessions, name)
        if name == "subscribe":
            return method

        async def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            last = self.calls == self._dies_at
            work = asyncio.ensure_future(method(*arguments, **named))
            if last and self._under_way:
                # The request may or may not be sent: it must make no difference.
                await asyncio.sleep(0.001)
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return await work
            finally:
                if last:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call


class MortalClient(AsyncClient):
    """A client whose calls are counted."""

    def __init__(self, address: str, **fate: Any) -> None:
        super().__init__(address)
        self.mortal = Mortal(super().sessions, **fate)

    @property
    def sessions(self) -> Any:
        """The counted calls."""
        return self.mortal


async def live(order: dict[str, Any]) -> int:
    async with MortalClient(
        order["address"], dies_at=order["dies_at"], under_way=order["under_way"]
    ) as client:
        await run_task(client, order["task"], order["inputs"], run_id=order["run_id"], model="scripted")
        return client.mortal.calls


def main() -> None:
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, b"%d" % asyncio.run(live(json.loads(line))))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as result:
            calls = result.read()
        _, status = os.waitpid(child, 0)
        ended = {"calls": int(calls or 0), "status": os.waitstatus_to_exitcode(status)}
        sys.stdout.write(f"{json.dumps(ended)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
