"""The server's program, killed with -9 during its migration: before the first statement that contains the argument."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import sqlalchemy as sa

from sessions_server.app import serve
from sessions_server.settings import read_settings


def die_at(text: str) -> None:
    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def _(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if text in statement:
            sys.stdout.write("killed\n")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)


def survived(*_: Any) -> None:
    os._exit(1)


def main() -> None:
    die_at(sys.argv[1])
    asyncio.run(serve(read_settings(), ready=survived))


if __name__ == "__main__":
    main()
