"""SQLite as one of the store's databases."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from sessions_server.storage import lane
from sessions_server.storage.backend import SETTING, Backend, Runner, RunOptions, Survey
from sessions_server.storage.clock import SystemClock
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.sqlite import epochs, sentences
from sessions_server.storage.sqlite.conditions import sql_of
from sessions_server.storage.sqlite.connection import recent_sessions
from sessions_server.storage.sqlite.runner import SqliteRunner
from sessions_server.storage.sqlite.search import Search
from sessions_server.storage.sqlite.survey import survey
from sessions_server.storage.sqlite.vacuum import vacuum

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa
    from sqlalchemy.engine import URL, Connection

    from sessions_server.domain.filters import Condition
    from sessions_server.storage.recent_sessions import RecentSessions

T = TypeVar("T")


@dataclass(frozen=True)
class SqliteBackend(Backend):
    path: Path | None
    """None for an in-memory database, discarded when the store is closed."""

    scheme: ClassVar[str] = "sqlite+aiosqlite"
    example: ClassVar[str] = "sqlite+aiosqlite:///sessions.db"
    joins_laterally: ClassVar[bool] = False

    @classmethod
    def from_url(cls, url: URL, text: str) -> Self:
        name = url.database or ":memory:"
        if name in (":memory:", "file::memory:") or (
            name.startswith("file:") and url.query.get("mode") == "memory"
        ):
            return cls(None)
        return cls(Path(name.removeprefix("file:")))

    def condition(self, condition: Condition, document: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        return sql_of(condition, document)

    def search_in_write(self, connection: Connection, search: Callable[[], T]) -> T:
        try:
            return Search(lane.SECONDS_IN_A_WRITE).run(connection, lambda _: search())
        except lane.SearchTooLong:
            raise lane.too_long(lane.SECONDS_IN_A_WRITE, "reads") from None

    def transaction_number(self, connection: Connection) -> int:
        return epochs.count_transaction(connection, in_log=False)

    def number_in_log(self, connection: Connection) -> int:
        return epochs.count_transaction(connection, in_log=True)

    def store_number(self, connection: Connection) -> None:
        epochs.store_number(connection)

    def epoch(self, connection: Connection) -> str:
        return epochs.epoch(connection)

    def recent_sessions(self, connection: Connection) -> RecentSessions | None:
        return recent_sessions(connection)

    def runner(self, options: RunOptions) -> Runner:
        return SqliteRunner(
            self.path,
            clock=options.clock or SystemClock(),
            scrub_seconds=options.scrub_seconds,
            clears_gaps=options.clears_gaps,
        )

    def channel(self) -> None:
        return None

    def when_failed_over(self, callback: Callable[[], None]) -> None:
        """A file has no failover."""

    def is_missing(self) -> bool:
        return self.path is None or not self.path.exists()

    def check(self) -> None:
        if self.path is None:
            return
        try:
            is_folder = stat.S_ISDIR(self.path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return  # opening it says why it cannot be opened, if it cannot be made
        except OSError as error:
            raise StoreRefused(
                f"The database {self.path} cannot be opened ({error.strerror}); name another file in {SETTING}."
            ) from None
        if is_folder:  # before a file is created next to it
            raise StoreRefused(f"{self.path} is a folder; name a file, such as {self.path / 'sessions.db'}.")

    async def survey(self, *, allow_unsafe: bool = False) -> Survey:
        return survey(self.path)

    def vacuum(self) -> tuple[int, int]:
        if self.path is None:
            raise StoreRefused(f"A database in memory has no space to return; name a file in {SETTING}.")
        return vacuum(self.path)

    def explain(self, error: Exception) -> str | None:
        return sentences.explain(self.path, error)
