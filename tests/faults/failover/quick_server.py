"""The server's program with shorter timeouts for a silent database, so that tests wait less."""

from __future__ import annotations

import asyncio

from sessions_server.app import serve
from sessions_server.settings import read_settings
from sessions_server.storage.postgres import hosts, runner
from tests.support.clocked_server import announce

SECONDS = 1.0


def main() -> None:
    for module, names in (
        (hosts, ("HOST_SECONDS",)),
        (runner, ("_PING_SECONDS", "_LOOK_SECONDS", "_LONG_COMMIT_SECONDS")),
    ):
        for name in names:
            assert hasattr(module, name)
            setattr(module, name, SECONDS)
    asyncio.run(serve(read_settings(), ready=announce))


if __name__ == "__main__":
    main()
