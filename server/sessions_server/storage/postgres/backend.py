"""PostgreSQL as one of the store's databases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from sessions_server.storage.backend import SETTING, Backend, Locks, Runner, RunOptions, Survey
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.postgres import sentences
from sessions_server.storage.postgres.conditions import sql_of
from sessions_server.storage.postgres.hosts import Hosts
from sessions_server.storage.postgres.locks import LOCKS
from sessions_server.storage.postgres.notify import NotifyChannel
from sessions_server.storage.schema import metadata
from sessions_server.storage.statements import Prepared, TransactionNumber

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import URL, Connection

    from sessions_server.domain.filters import Condition
    from sessions_server.domain.replica_ports import Channel

T = TypeVar("T")

# The conditions of partial indexes. The schema itself has only SQLite's: naming PostgreSQL's would import SQLAlchemy's
# part for it on SQLite as well.
for _index in (index for table in metadata.tables.values() for index in table.indexes):
    _index.dialect_options["postgresql"]["where"] = _index.dialect_options["sqlite"]["where"]

_NUMBER: Final = Prepared(sa.select(TransactionNumber()))


@dataclass(frozen=True)
class PostgresBackend(Backend):
    url: URL
    hosts: Hosts
    has_odd_password: bool = False
    """Whether the URL has more than one `@`, so that the apparent host or name may be part of the password."""

    scheme: ClassVar[str] = "postgresql+asyncpg"
    example: ClassVar[str] = "postgresql+asyncpg://user@host/database"
    locks: ClassVar[Locks | None] = LOCKS
    joins_laterally: ClassVar[bool] = True

    @classmethod
    def from_url(cls, url: URL, text: str) -> Self:
        url = url.set(drivername=cls.scheme)
        try:
            return cls(url, Hosts(url), text.count("@") > 1)
        except (ValueError, ArgumentError):
            raise StoreRefused(sentences.of_options(url)) from None

    def condition(self, condition: Condition, document: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        return sql_of(condition, document)

    def search_in_write(self, _connection: Connection, search: Callable[[], T]) -> T:
        return search()

    def transaction_number(self, connection: Connection) -> int:
        [[number]] = _NUMBER.rows(connection)
        current: int = number
        return current

    def epoch(self, connection: Connection) -> str:
        return self.hosts.epoch(connection.connection.driver_connection)

    def runner(self, options: RunOptions) -> Runner:
        from sessions_server.storage.postgres.runner import PostgresRunner  # from the extra [postgres]

        return PostgresRunner(
            self.url,
            self.hosts,
            clock=options.clock,
            pool_size=options.pool_size,
            allow_unsafe=options.allow_unsafe,
        )

    def channel(self) -> Channel:
        return NotifyChannel(self.hosts)

    def when_failed_over(self, callback: Callable[[], None]) -> None:
        self.hosts.when_failed_over(callback)

    def is_missing(self) -> bool:
        return False

    def check(self) -> None:
        """Only PostgreSQL itself can check more."""

    async def survey(self, *, allow_unsafe: bool = False) -> Survey:
        from sessions_server.storage.postgres.survey import survey  # from the extra [postgres]

        return await survey(self.hosts, allow_unsafe=allow_unsafe)

    def vacuum(self) -> tuple[int, int]:
        raise StoreRefused(
            "PostgreSQL reuses its space by itself; to return some to the disk, run VACUUM FULL there while no "
            "server is running."
        )

    def explain(self, error: Exception) -> str | None:
        sentence = sentences.explain(self.url, error)
        if sentence is not None and self.has_odd_password:
            return (
                f"PostgreSQL cannot be reached; percent-encode what is special in the password in {SETTING} "
                "(@ is %40)."
            )
        return sentence
