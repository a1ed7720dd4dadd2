"""A server that ends as soon as it is ready and prints the CPU time of each part of its start, for `starting`."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessions_server.serving import Addresses


def main(url: str) -> None:
    """The imports are inside, since they are what is measured."""
    times = [0.0, time.process_time()]
    import sessions_server.__main__  # noqa: F401  # as the command line does
    from sessions_server.commands.running import make_gc_rare, run
    from sessions_server.settings import read_settings

    times.append(time.process_time())
    make_gc_rare()
    from sessions_server.app import serve_until
    from sessions_server.storage.databases import parse_url

    parse_url(url)
    times.append(time.process_time())

    async def start() -> None:
        stop = asyncio.Event()
        settings = read_settings(listen="127.0.0.1:0", database_url=url)

        def ready(_: Addresses) -> None:
            times.append(time.process_time())
            stop.set()

        await serve_until(stop, settings, ready=ready)

    run(start())
    sys.stdout.write(json.dumps([after - before for before, after in itertools.pairwise(times)]))


if __name__ == "__main__":
    main(sys.argv[1])
