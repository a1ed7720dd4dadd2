"""Several servers over one PostgreSQL, each in its own process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.server import Server, start_server

if TYPE_CHECKING:
    from tests.support.clock import SharedClock


@contextmanager
def running_replicas(
    folder: Path,
    *,
    count: int,
    database_url: str,
    env: Mapping[str, str] | None = None,
    program: Sequence[str] | None = None,
    clock: SharedClock | None = None,
) -> Iterator[list[Server]]:
    """Starts them concurrently, each with its own folder of files, and stops them at the end."""

    def start(number: int) -> Server:
        own = folder / f"replica-{number}"
        own.mkdir()
        settings = {"SESSIONS_DATABASE_URL": database_url, **(env or {})}
        return start_server(own, env=settings, program=program, clock=clock)

    with ExitStack() as stack, ThreadPoolExecutor(count) as threads:
        starting = [threads.submit(start, number) for number in range(count)]
        failures = [one.exception() for one in starting]
        servers = [
            stack.enter_context(one.result())
            for one, failure in zip(starting, failures, strict=True)
            if failure is None
        ]
        for failure in filter(None, failures):
            raise failure
        yield servers
