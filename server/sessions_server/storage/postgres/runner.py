"""Runs PostgreSQL: any number of servers, each transaction on a connection from a pool, row locks for order.

The same plain functions as on SQLite run here, inside the driver's event loop. Transactions are READ COMMITTED, since
every row that a write depends on is locked; only a read of several statements sees one snapshot.
"""

from __future__ import annotations

import importlib.util
import random
from asyncio import sleep
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sessions_server.storage.backend import ENGINE_OPTIONS, Runner
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.migrations import migrate
from sessions_server.storage.postgres.errors import connection_lost, lost_to_another, reaching, translated
from sessions_server.storage.postgres.locks import LOCKS, migrate_alone
from sessions_server.storage.postgres.spelling import SPELLING
from sessions_server.storage.schema import sessions
from sessions_server.storage.statements import (
    SPELLING as SPELLING_OPTION,
    Prepared,
    as_list,
    is_listed,
    listed,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection

    from sessions_server.domain.models import Micros, SessionKey
    from sessions_server.domain.ports import Clock

T = TypeVar("T")

_ATTEMPTS: Final = 6
_FIRST_WAIT_SECONDS: Final = 0.005

_CONNECT_SECONDS: Final = 10
_POOL_SECONDS: Final = 10
_COMMAND_SECONDS: Final = 35
"""How long an answer may take: longer than a statement may run, so only a database that keeps silent takes longer."""

# Set by a statement, not when connecting: a pooler between refuses what it does not know. All statements of this
# server follow indexes; a planner that does not know the tables' sizes yet, or how much a filter leaves, must not
# read them whole.
_SESSION_SETTINGS: Final = {
    "idle_in_transaction_session_timeout": "30s",
    "lock_timeout": "200ms",
    "statement_timeout": "30s",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


_keys = listed("keys")
_WAIT_FOR_LOCK: Final = Prepared(
    sa.select(sessions.c.session_id)
    .select_from(_keys)
    .join(sessions, is_listed(_keys, sessions.c.tenant, sessions.c.session_id))
    .with_for_update(of=sessions, read=True, key_share=True)
)


class PostgresRunner(Runner):
    def __init__(self, url: URL, *, clock: Clock | None, pool_size: int, allow_unsafe: bool) -> None:
        if importlib.util.find_spec("asyncpg") is None or importlib.util.find_spec("greenlet") is None:
            raise StoreRefused("PostgreSQL needs the package asyncpg; install sessions[server,postgres].")
        self._url = url
        self._clock = clock
        self._allow_unsafe = allow_unsafe
        self._engine = _create_engine(url, pool_size, command_seconds=_COMMAND_SECONDS)
        self._connections: set[Any] = set()
        for event, note in (("connect", self._connections.add), ("close", self._connections.discard)):
            sa.event.listen(self._engine.sync_engine, event, lambda each, _record, note=note: note(each))
        self._single = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._snapshot = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    def now(self) -> Micros | None:
        return self._clock.now() if self._clock is not None else None

    async def start(self) -> None:
        with translated():
            async with _connected(self._single) as connection:
                await connection.run_sync(self._check_durability)
            migrating = _create_engine(self._url, 1, command_seconds=None)  # it may take its time
            try:
                await _in_transaction(migrating, partial(migrate, alone=migrate_alone))
            finally:
                await migrating.dispose()

    async def close(self) -> None:
        # Each connection says goodbye, and does not wait for the answer of a database that may keep silent.
        for connection in self._connections:
            connection.driver_connection.terminate()
        await self._engine.dispose()

    async def write(self, work: Callable[[Connection], T]) -> T:
        with translated():
            return await _in_transaction(self._engine, work)

    async def read(self, work: Callable[[Connection], T], *, snapshot: bool) -> T:
        engine = self._snapshot if snapshot else self._single
        with translated():
            try:
                return await _run(engine, work)
            except sa.exc.DBAPIError as error:
                if not connection_lost(error):
                    raise
            return await _run(engine, work)  # the pool may have held a connection that had died meanwhile

    async def settle(self, key: SessionKey) -> None:
        await self.write(lambda connection: _wait_for_writes(connection, key))

    def scrub_soon(self) -> None:
        """Nothing to do: PostgreSQL's vacuum removes what was erased."""

    def _check_durability(self, connection: Connection) -> None:
        """Refuses a database that may lose what it has acknowledged."""
        if self._allow_unsafe:
            return
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            if connection.execute(sa.select(sa.func.current_setting(setting))).scalar_one() == "off":
                raise StoreRefused(
                    f"PostgreSQL's {setting} is off, so it may lose what this server has acknowledged; turn it on."
                )


def _wait_for_writes(connection: Connection, key: SessionKey) -> None:
    LOCKS.wait_long.rows(connection)
    _WAIT_FOR_LOCK.rows(connection, keys=as_list([key]))


async def _in_transaction(engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
    """Tries again when another transaction came first, or when a connection had died in the pool. Not when it died
    during the commit: then nobody knows what has happened."""
    for attempt in range(1, _ATTEMPTS + 1):
        committing = False
        try:
            async with _connected(engine) as connection:
                outcome = await connection.run_sync(work)
                committing = True
                await connection.commit()
                return outcome
        except sa.exc.DBAPIError as error:
            again = lost_to_another(error) or (connection_lost(error) and not committing)
            if not again or attempt == _ATTEMPTS:
                raise
        await sleep(random.uniform(0, _FIRST_WAIT_SECONDS * 2**attempt))
    raise AssertionError("the last attempt answers or raises")


async def _run(engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
    async with _connected(engine) as connection:
        return await connection.run_sync(work)


@asynccontextmanager
async def _connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection from the pool. It does not go back there, and is asked for nothing more, once it kept silent."""
    async with AsyncExitStack() as stack:
        with reaching():
            connection = await stack.enter_async_context(engine.connect())
        try:
            yield connection
        except TimeoutError:
            await connection.invalidate()
            raise


def _create_engine(url: URL, pool_size: int, *, command_seconds: float | None) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_POOL_SECONDS,
        connect_args={
            "timeout": _CONNECT_SECONDS,
            "command_timeout": command_seconds,
            "server_settings": {"application_name": "sessions-server"},
        },
        execution_options={SPELLING_OPTION: SPELLING},
        **ENGINE_OPTIONS,
    )
    sa.event.listen(engine.sync_engine, "connect", _apply_settings)
    return engine


def _apply_settings(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    names = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SESSION_SETTINGS.items())
    cursor.execute(f"SELECT {names}")
    cursor.close()
    connection.commit()
