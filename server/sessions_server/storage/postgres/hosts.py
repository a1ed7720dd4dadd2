"""The servers of one PostgreSQL database, as named in its URL. All connections are opened here.

A host that does not respond is abandoned after its own timeout, and the next one is tried; the last host that worked is
tried first. Each connection is checked before it is used:

- A server that may lose acknowledged writes is refused.
- Each promotion of a standby begins a new timeline. A primary on an older timeline than a known one has come back after
a failover, and is refused; one on a newer timeline ends the connections to older ones. So this process never writes to
two primaries.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

from sessions_server.storage.postgres.errors import HostRefused, sqlstate_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    import asyncpg
    from sqlalchemy.engine import URL

HOST_SECONDS: Final = 5.0
"""The time limit for connecting to one host."""

Address: TypeAlias = tuple[str | None, int | None]
"""A host and its port; None for the values of libpq's variables."""

_TLS: Final = {
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
}
"""Options that libpq knows, but asyncpg only accepts in a DSN."""

_OF_SQLALCHEMY: Final = {"prepared_statement_cache_size"}
_OURS: Final = {"dsn", "loop", "connection_class", "record_class", "server_settings", "host", "port"}

_DURABLE: Final = ("fsync", "full_page_writes")

_SETTINGS: Final = """
SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
       current_setting('server_encoding') AS encoding, current_setting('synchronous_commit') AS synchronous_commit
"""
# The timeline is that of the current write position; the last checkpoint may be on the previous one.
_LINEAGE: Final = """
SELECT system_identifier,
       CASE WHEN NOT pg_is_in_recovery()
            THEN ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline,
       (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database,
       to_regclass('sessions')::oid::bigint AS table
FROM pg_control_system()
"""
_UNKNOWN: Final = ("42501", "42883", "0A000")
"""Errors that hide a server's lineage: no permission, no such function, not supported."""

_WAITS_FOR_STANDBYS: Final = {"on", "remote_apply"}


class _Lineage(NamedTuple):
    system: int
    timeline: int
    database: int
    table: int | None
    """The object id of a table, which differs after a restore from a dump."""

    @property
    def epoch(self) -> str:
        return hashlib.sha256(repr((*self,)).encode()).hexdigest()[:8]


def known_options() -> set[str]:
    """The options allowed after the `?` of a URL."""
    import asyncpg

    return (inspect.signature(asyncpg.connect).parameters.keys() - _OURS) | _TLS | _OF_SQLALCHEMY | {"host"}


async def uncut(connecting: Coroutine[Any, Any, asyncpg.Connection]) -> asyncpg.Connection:
    """Lets a caller leave without interrupting its connection attempt, which would make asyncpg log an error."""
    task = asyncio.create_task(connecting)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_terminate)
        raise


def _terminate(connected: asyncio.Task[asyncpg.Connection]) -> None:
    if not connected.cancelled() and connected.exception() is None:
        connected.result().terminate()


class Hosts:
    """Opens connections, and tracks which primary each leads to."""

    def __init__(self, url: URL) -> None:
        """Raises ValueError, sqlalchemy.exc.ArgumentError for invalid options."""
        _, options = url.get_dialect()().create_connect_args(url)
        self._addresses = _addresses(options.pop("host", None), options.pop("port", None))
        tls = {name: options.pop(name) for name in _TLS & options.keys()}
        for name in _OF_SQLALCHEMY:
            options.pop(name, None)
        self._options: dict[str, Any] = {**options, "dsn": f"postgresql://?{urlencode(tls)}" if tls else None}
        self._newest: _Lineage | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._made: WeakKeyDictionary[asyncpg.Connection, _Lineage] = WeakKeyDictionary()

    def when_failed_over(self, callback: Callable[[], None]) -> None:
        """Registers `callback`, which is called when a primary on a newer timeline is found, before it is used."""
        self._callbacks.append(callback)

    def epoch(self, connection: asyncpg.Connection) -> str:
        """The epoch of the server that a connection leads to, as eight characters; empty if unknown."""
        lineage = self._made.get(connection)
        return "" if lineage is None else lineage.epoch

    async def look_around(self) -> None:
        """Checks whether one of the other hosts was promoted while the current one is still running. Raises nothing."""

        async def look(address: Address) -> None:
            connection = await self._connect(address, "sessions-server health", HOST_SECONDS)
            try:
                await self._look_at(connection, {}, allow_unsafe=True)
            finally:
                connection.terminate()

        await asyncio.gather(*map(look, self._addresses[1:]), return_exceptions=True)

    async def connect(
        self,
        name: str,
        *,
        settings: Mapping[str, str] | None = None,
        allow_unsafe: bool = False,
        command_seconds: float | None = None,
    ) -> asyncpg.Connection:
        """Opens a connection to the first host that accepts one, with `settings` for its lifetime.

        Raises the most informative error of the hosts: HostRefused, an asyncpg error, OSError.
        """

        async def connect(address: Address) -> asyncpg.Connection:
            connection = await self._connect(address, name, command_seconds)
            try:
                async with asyncio.timeout(HOST_SECONDS):
                    await self._look_at(connection, settings or {}, allow_unsafe=allow_unsafe)
            except HostRefused as refused:
                connection.terminate()
                raise refused.at(_place(address)) from None
            except BaseException:
                connection.terminate()
                raise
            return connection

        if self._newest is None and len(self._addresses) > 1:
            return await self._newest_of(
                await asyncio.gather(*map(connect, self._addresses), return_exceptions=True)
            )
        failures: list[BaseException] = []
        for address in list(self._addresses):
            try:
                connection = await connect(address)
            except Exception as error:
                failures.append(error)
            else:
                self._prefer(address)
                return connection
        raise _most_telling(failures)

    async def _newest_of(self, found: list[asyncpg.Connection | BaseException]) -> asyncpg.Connection:
        """At first it is unknown which of two primaries is outdated: uses the one on the newest timeline."""
        connections = [
            (address, each)
            for address, each in zip(self._addresses, found, strict=True)
            if not isinstance(each, BaseException) and not each.is_closed()
        ]
        if not connections:
            raise _most_telling([each for each in found if isinstance(each, BaseException)])
        best = max(connections, key=lambda each: self._timeline(each[1]))
        for each in connections:
            if each is not best:
                each[1].terminate()
        self._prefer(best[0])
        return best[1]

    async def _connect(
        self, address: Address, name: str, command_seconds: float | None
    ) -> asyncpg.Connection:
        import asyncpg

        host, port = address
        options = {
            "timeout": HOST_SECONDS,
            "command_timeout": command_seconds,
            "server_settings": {"application_name": name},
            **self._options,
        }
        return await asyncpg.connect(host=host, port=port, **options)

    async def _look_at(
        self, connection: asyncpg.Connection, settings: Mapping[str, str], *, allow_unsafe: bool
    ) -> None:
        """Checks a new connection. Raises HostRefused."""
        found = await connection.fetchrow(_SETTINGS)
        if found["encoding"] != "UTF8":
            raise HostRefused(
                f"The database's encoding is {found['encoding']}, which cannot represent every string; create one with "
                "ENCODING 'UTF8' TEMPLATE template0, and name it in {setting}."
            )
        if not allow_unsafe:
            for name in _DURABLE:
                if found[name] == "off":
                    raise HostRefused(
                        f"PostgreSQL's {name} is off, so it may lose what this server has acknowledged; turn it on."
                    )
            if found["synchronous_commit"] not in _WAITS_FOR_STANDBYS:
                settings = {"synchronous_commit": "on", **settings}
        if settings:
            places = ", ".join(
                f"set_config(${2 * number + 1}, ${2 * number + 2}, false)" for number in range(len(settings))
            )
            await connection.fetchrow(
                f"SELECT {places}", *(each for pair in settings.items() for each in pair)
            )
        lineage = await _lineage_of(connection)
        if lineage is not None:
            self._check(lineage)
            self._made[connection] = lineage

    def _check(self, found: _Lineage) -> None:
        newest = self._newest
        if newest is not None and found.system != newest.system:
            raise HostRefused(
                "PostgreSQL at {place} is another cluster than the one that this server began with; correct {setting}, "
                "or restart the server if the cluster was replaced."
            )
        if newest is not None and found.timeline < newest.timeline:
            raise HostRefused(
                f"PostgreSQL at {{place}} is a primary on timeline {found.timeline}, and a standby was promoted to "
                f"timeline {newest.timeline} since; stop the old primary, and make it a standby of the new one."
            )
        if newest is not None and found.timeline > newest.timeline:
            for connection, lineage in list(self._made.items()):
                if lineage.timeline < found.timeline:
                    connection.terminate()
            for callback in self._callbacks:
                callback()
        self._newest = found

    def _timeline(self, connection: asyncpg.Connection) -> int:
        lineage = self._made.get(connection)
        return lineage.timeline if lineage is not None else -1

    def _prefer(self, address: Address) -> None:
        self._addresses.remove(address)
        self._addresses.insert(0, address)


async def _lineage_of(connection: asyncpg.Connection) -> _Lineage | None:
    """None for a standby, and if the server does not reveal it."""
    try:
        found = await connection.fetchrow(_LINEAGE)
    except Exception as error:
        if sqlstate_of(error) in _UNKNOWN:
            return None
        raise
    return None if found["timeline"] is None else _Lineage(*found)


def _place(address: Address) -> str:
    """The place as shown in a sentence; the values of libpq's variables are described by the sentence itself."""
    host, port = address
    return "{place}" if host is None or port is None else f"{host}:{port}"


def _addresses(host: str | list[str] | None, port: int | list[int] | None) -> list[Address]:
    hosts = host if isinstance(host, list) else [host]
    ports = port if isinstance(port, list) else [port] * len(hosts)
    return list(zip(hosts, ports, strict=True))


def _most_telling(failures: list[BaseException]) -> BaseException:
    """Prefers an error reported by a server over one that another could not be reached."""
    return max(failures, key=lambda error: (isinstance(error, HostRefused), bool(sqlstate_of(error))))
