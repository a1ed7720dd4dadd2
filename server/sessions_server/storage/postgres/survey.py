"""Examines a PostgreSQL database without changing it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from sessions_server.storage.backend import Survey
from sessions_server.storage.migrations import VERSION_TABLE
from sessions_server.storage.postgres.errors import HostRefused, reaching, translated
from sessions_server.storage.survey import SCHEMA, SHARED_WRAPPINGS, WITH_SHARED, WRAPPINGS

if TYPE_CHECKING:
    import asyncpg

    from sessions_server.storage.postgres.hosts import Hosts

_ABOUT: Final = """
SELECT current_setting('server_version') AS version, current_database() AS name,
       extract(epoch FROM clock_timestamp())::float8 AS now, pg_is_in_recovery() AS is_standby,
       to_regclass($1) IS NOT NULL AS is_made
"""


async def survey(hosts: Hosts, *, allow_unsafe: bool) -> Survey:
    """Raises Unavailable, with the reason as its cause."""
    with translated(), reaching():
        connection = await hosts.connect("sessions-server doctor", allow_unsafe=allow_unsafe)
        try:
            return await _survey(connection)
        finally:
            await connection.close()


async def _survey(connection: asyncpg.Connection) -> Survey:
    before = time.time()
    about = await connection.fetchrow(_ABOUT, VERSION_TABLE)
    after = time.time()
    if about["is_standby"]:
        raise HostRefused("PostgreSQL at {place} takes no writes; name the primary in {setting}.")
    schema = await connection.fetchval(SCHEMA) if about["is_made"] else None
    return Survey(
        f"PostgreSQL {about['version']}, database {about['name']}",
        schema,
        await _wrappings(connection, schema) if schema else (),
        # The database answered at some time in between.
        seconds_ahead=max(about["now"] - after, 0.0) + min(about["now"] - before, 0.0),
    )


async def _wrappings(connection: asyncpg.Connection, schema: str) -> tuple[bytes, ...]:
    questions = [WRAPPINGS, *([SHARED_WRAPPINGS] if schema >= WITH_SHARED else [])]
    return tuple([found for question in questions for [found] in await connection.fetch(question)])
