"""Runs PostgreSQL: any number of servers; each transaction uses a pooled connection, and row locks for ordering.

The same plain functions as on SQLite run here, inside the driver's event loop. Transactions are READ COMMITTED, since
every row that a write depends on is locked; only reads with several statements use one snapshot.

A COMMIT has no time limit. One that waits for a synchronous standby is already done on the primary: giving it up would
show, and send to subscribers, what a failover may take back.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sessions_server.domain.errors import DomainError
from sessions_server.storage import errors
from sessions_server.storage.backend import ENGINE_OPTIONS, Runner
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.lane import SEARCHES, Lane
from sessions_server.storage.migrations import migrate
from sessions_server.storage.postgres.driver import driver_of, send
from sessions_server.storage.postgres.errors import (
    HostRefused,
    connection_lost,
    lost_to_another,
    mixed_up,
    of_all_connections,
    of_the_connection,
    reaching,
    translated,
)
from sessions_server.storage.postgres.hosts import uncut
from sessions_server.storage.postgres.locks import LOCKS, migrate_alone
from sessions_server.storage.postgres.rights import check_rights
from sessions_server.storage.postgres.spelling import SPELLING
from sessions_server.storage.postgres.statistics import analyze_new
from sessions_server.storage.schema import sessions
from sessions_server.storage.statements import (
    SPELLING as SPELLING_OPTION,
    Prepared,
    as_list,
    is_listed,
    listed,
)

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.engine import URL, Connection

    from sessions_server.domain.models import Micros, SessionKey
    from sessions_server.domain.ports import Clock
    from sessions_server.storage.postgres.hosts import Hosts

T = TypeVar("T")

_ATTEMPTS: Final = 6
_FIRST_WAIT_SECONDS: Final = 0.005

_POOL_SECONDS: Final = 10
_COMMAND_SECONDS: Final = 35
"""The time limit of a response: longer than any statement may run, so that only a hanging database exceeds it."""

_PING_SECONDS: Final = 5.0
"""How long the database may be unresponsive before health reports it."""

_LONG_COMMIT_SECONDS: Final = 5.0
"""How long writes may wait for a standby before health reports it."""

_LOOK_SECONDS: Final = 5.0
"""How often to check whether one of the other hosts was promoted."""

_MIXED_UP_SECONDS: Final = 30.0
"""After a call was mixed up by a pooler, health reports that for this long."""

_NO_LIMIT: Final = 10.0 * 365 * 24 * 3600
"""In seconds; with None, asyncpg would use the connection's default."""

_COMMIT: Final = "SET LOCAL statement_timeout = 0; COMMIT"
"""Sent as one message. If a timeout ended the wait for a standby, PostgreSQL would report the COMMIT as done."""

# All statements of this server should use indexes; a planner without statistics for the tables, or for a filter's
# selectivity, must not choose sequential scans.
_SESSION_SETTINGS: Final = {
    "idle_in_transaction_session_timeout": "30s",
    "lock_timeout": "200ms",
    "statement_timeout": "30s",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

# A bitmap of all matches is built before the first row is returned, however few rows are needed.
_SEARCH_SETTINGS: Final = {**_SESSION_SETTINGS, "enable_bitmapscan": "off"}

_IS_WRITABLE: Final = "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"
_TRY_TO_WRITE: Final = "SELECT pg_logical_emit_message(true, 'sessions-server', '')"
"""Writes to the primary's log and to no table."""

_keys = listed("keys")
_WAIT_FOR_LOCK: Final = Prepared(
    sa.select(sessions.c.session_id)
    .select_from(_keys)
    .join(sessions, is_listed(_keys, sessions.c.tenant, sessions.c.session_id))
    .with_for_update(of=sessions, read=True, key_share=True)
)


class PostgresRunner(Runner):
    def __init__(
        self, url: URL, hosts: Hosts, *, clock: Clock | None, pool_size: int = 8, allow_unsafe: bool = False
    ) -> None:
        if importlib.util.find_spec("asyncpg") is None or importlib.util.find_spec("greenlet") is None:
            raise StoreRefused("PostgreSQL needs the package asyncpg; install sessions[server,postgres].")
        self._url = url
        self._hosts = hosts
        self._clock = clock
        self._allow_unsafe = allow_unsafe
        self._generation = 0
        self._opened: WeakKeyDictionary[asyncpg.Connection, int] = WeakKeyDictionary()
        self._engine = self._create_engine(pool_size, command_seconds=_COMMAND_SECONDS)
        self._single = _without_begin(self._engine)
        self._snapshot = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._searches = self._create_engine(
            SEARCHES,
            name="sessions-server searches",
            settings=_SEARCH_SETTINGS,
            command_seconds=_COMMAND_SECONDS,
        ).execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self.lane = Lane()
        self._commits: dict[int, float] = {}
        """When each pending COMMIT was sent, by a number."""
        self._numbers = itertools.count()
        self._looking: asyncio.Task[None] | None = None
        self._is_analyzed = False
        self._look_at = 0.0
        self._health: asyncpg.Connection | None = None
        self._mixed_up: BaseException | None = None
        self._mixed_up_until = 0.0

    def now(self) -> Micros | None:
        return self._clock.now() if self._clock is not None else None

    async def start(self) -> None:
        with translated():
            migrating = _without_begin(self._create_engine(1, command_seconds=None))  # it may take long
            try:
                await self._in_transaction(migrating, partial(migrate, alone=migrate_alone))
                await self._in_transaction(migrating, check_rights)
            finally:
                await migrating.dispose()

    async def close(self) -> None:
        self.abandon()
        await self._engine.dispose()
        await self._searches.dispose()

    def abandon(self) -> None:
        """Each connection is closed without waiting for a response, since the database may hang."""
        if self._looking is not None:
            self._looking.cancel()
        for connection in (*self._opened, *([self._health] if self._health is not None else [])):
            connection.terminate()

    async def ping(self, *, in_doubt: bool) -> None:
        loop = asyncio.get_running_loop()
        oldest = min(self._commits.values(), default=loop.time())
        if (waited := loop.time() - oldest) > _LONG_COMMIT_SECONDS:
            raise errors.unavailable() from HostRefused(
                f"PostgreSQL at {{place}} has not finished a COMMIT for {waited:.0f} seconds; start the synchronous "
                "standby that it waits for, or take it out of synchronous_standby_names."
            )
        if self._mixed_up is not None and loop.time() < self._mixed_up_until:
            raise errors.unavailable() from self._mixed_up
        with translated():
            await self._ping(in_doubt=in_doubt)
        if loop.time() >= self._look_at and (self._looking is None or self._looking.done()):
            self._look_at = loop.time() + _LOOK_SECONDS
            self._looking = asyncio.create_task(self._look_around())

    async def _look_around(self) -> None:
        await self._hosts.look_around()
        if not self._is_analyzed:
            with suppress(DomainError):
                self._is_analyzed = await self._read(self._single, analyze_new)

    async def _ping(self, *, in_doubt: bool) -> None:
        """Uses a separate connection, because it is not a fault that all others are busy."""
        for is_last in (False, True):
            connection = self._health
            try:
                if connection is None or connection.is_closed():
                    connection = self._health = await self._connect_for_health()
                if await connection.fetchval(_IS_WRITABLE, timeout=_PING_SECONDS):
                    if in_doubt:
                        await connection.fetchval(_TRY_TO_WRITE, timeout=_PING_SECONDS)
                    return
                raise HostRefused("PostgreSQL at {place} takes no writes; name the primary in {setting}.")
            except Exception:
                if connection is not None:
                    connection.terminate()
                if connection is None or is_last:
                    raise

    async def _connect_for_health(self) -> asyncpg.Connection:
        """Its own writes are irrelevant, so they need not wait for a standby."""
        with reaching():
            return await self._hosts.connect(
                "sessions-server health",
                settings={"synchronous_commit": "local"},
                allow_unsafe=self._allow_unsafe,
            )

    async def write(self, work: Callable[[Connection], T], *, bulk: bool = False) -> T:
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ" if bulk else "BEGIN"
        with translated():
            return await self._in_transaction(self._single, work, begin)

    async def read(self, work: Callable[[Connection], T], *, snapshot: bool) -> T:
        return await self._read(self._snapshot if snapshot else self._single, work)

    async def search(self, work: Callable[[Connection], T], *, tenant: str, field: str) -> T:
        async with self.lane.turn(tenant):
            try:
                async with asyncio.timeout(self.lane.seconds) as limit:
                    return await self._read(self._searches, work)
            except TimeoutError:
                if not limit.expired():
                    raise
                raise self.lane.too_long(field) from None

    async def shrink(self, pages: int) -> int:
        """Autovacuum does this."""
        return 0

    async def settle(self, key: SessionKey) -> None:
        await self.write(lambda connection: _wait_for_writes(connection, key))

    def scrub_soon(self) -> None:
        """Not needed: PostgreSQL's vacuum removes erased content."""

    async def _read(self, engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
        with translated():
            try:
                return await self._run(engine, work)
            except Exception as error:
                self._note(error)
                if not of_the_connection(error):
                    raise
            return await self._run(engine, work)

    async def _in_transaction(
        self, engine: AsyncEngine, work: Callable[[Connection], T], begin: str = "BEGIN"
    ) -> T:
        """Retries if another transaction won a conflict, and once if the connection was at fault. Not once the COMMIT
        was sent, when the outcome is unknown."""
        tried_another = False
        for attempt in itertools.count(1):
            committing = False
            try:
                async with self._connected(engine) as connection:
                    outcome = await self._begin(connection, work, begin)
                    committing = True
                    await self._commit(connection)
                    return outcome
            except Exception as error:
                self._note(error)
                again = lost_to_another(error)
                if not committing and of_the_connection(error) and not tried_another:
                    tried_another = again = True
                if not again or attempt >= _ATTEMPTS:
                    raise
            await asyncio.sleep(random.uniform(0, _FIRST_WAIT_SECONDS * 2**attempt))
        raise AssertionError("the last attempt returns or raises")

    async def _begin(self, connection: AsyncConnection, work: Callable[[Connection], T], begin: str) -> T:
        """Runs a transaction up to the COMMIT, and rolls back if that fails."""
        try:
            await send(connection, begin)
            return await connection.run_sync(work)
        except (TimeoutError, asyncio.CancelledError):
            await connection.invalidate()
            raise
        except Exception as error:
            if not connection_lost(error):
                await send(connection, "ROLLBACK")
            raise

    async def _commit(self, connection: AsyncConnection) -> None:
        driver = driver_of(connection)
        number = next(self._numbers)
        self._commits[number] = asyncio.get_running_loop().time()
        try:
            done = await driver.execute(_COMMIT, timeout=_NO_LIMIT)
        except BaseException:
            driver.terminate()  # without sending a request to cancel
            raise
        finally:
            del self._commits[number]
        if done != "COMMIT":
            raise errors.unavailable()

    async def _run(self, engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
        async with self._connected(engine) as connection:
            return await connection.run_sync(work)

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """A connection from the pool. If it stopped responding or its statement was cancelled, it is not reused or
        returned to the pool; PostgreSQL is then asked to stop."""
        async with AsyncExitStack() as stack:
            with reaching():
                connection = await stack.enter_async_context(engine.connect())
            try:
                yield connection
            except (TimeoutError, asyncio.CancelledError):
                await connection.invalidate()
                raise

    def _note(self, error: Exception) -> None:
        """Handles errors that also concern other connections."""
        if of_all_connections(error):
            self._generation += 1
        if mixed_up(error):
            self._mixed_up, self._mixed_up_until = (
                error,
                asyncio.get_running_loop().time() + _MIXED_UP_SECONDS,
            )

    def _create_engine(
        self,
        pool_size: int,
        *,
        command_seconds: float | None,
        name: str = "sessions-server",
        settings: Mapping[str, str] = _SESSION_SETTINGS,
    ) -> AsyncEngine:
        async def connect(**_: object) -> asyncpg.Connection:
            connection = await uncut(
                self._hosts.connect(
                    name,
                    settings=settings,
                    allow_unsafe=self._allow_unsafe,
                    command_seconds=command_seconds,
                )
            )
            self._opened[connection] = self._generation
            return connection

        engine = create_async_engine(
            self._url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_POOL_SECONDS,
            connect_args={"async_creator_fn": connect},
            execution_options={SPELLING_OPTION: SPELLING},
            **ENGINE_OPTIONS,
        )
        sa.event.listen(engine.sync_engine, "checkout", self._check_out)
        return engine

    def _check_out(self, connection: Any, _record: object, _proxy: object) -> None:
        """Makes the pool open a new connection instead of one that has ended, or is of a kind to be dropped."""
        driver = connection.driver_connection
        if driver.is_closed() or self._opened.get(driver) != self._generation:
            raise sa.exc.DisconnectionError


def _without_begin(engine: AsyncEngine) -> AsyncEngine:
    """The same engine, for single statements and for transactions that are begun by us and not by SQLAlchemy."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _wait_for_writes(connection: Connection, key: SessionKey) -> None:
    LOCKS.wait_long.rows(connection)
    _WAIT_FOR_LOCK.rows(connection, keys=as_list([key]))
