"""The rows of the sessions that recent commits read or wrote, so that the next commits need not read them again.

Only for a database with a single writing connection. What is kept equals what is stored: everything is discarded when a
transaction fails, when one does anything but commits, and when another program has written to the database.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from sessions_server.domain.models import Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sessions_server.domain.models import SessionKey
    from sessions_server.storage.rows import Upkeep

MOST_SESSIONS: Final = 2_048

LARGEST_METADATA_BYTES: Final = 1_024
"""Sessions with more metadata are not kept, so that the memory is bounded."""


class StoredSession(NamedTuple):
    """A row of the table `sessions`."""

    session: Session
    upkeep: Upkeep


class RecentSessions:
    def __init__(self) -> None:
        self._kept: OrderedDict[SessionKey, StoredSession] = OrderedDict()
        self._version = 0
        self._is_current = False
        """Whether what is kept equals what is stored now."""
        self._is_kept_up = False
        """Whether it will be if the current transaction is committed."""

    def begin(self, version: int) -> None:
        """Must be called at the beginning of every write transaction. `version` must differ from the one before if
        another connection has written since."""
        if not self._is_current or version != self._version:
            self._kept.clear()
        self._version = version
        self._is_current = self._is_kept_up = False

    def keep_up(self) -> None:
        """States that the current transaction changes no rows except those passed to the methods below."""
        self._is_kept_up = True

    def committed(self) -> None:
        """The transaction that began last was committed."""
        self._is_current = self._is_kept_up

    def find(self, keys: Iterable[SessionKey]) -> dict[SessionKey, StoredSession]:
        """Those of the sessions that are kept."""
        return {key: found for key in keys if (found := self._kept.get(key)) is not None}

    def add(self, stored: StoredSession, metadata_bytes: int) -> None:
        """Keeps a row that was read or written; `metadata_bytes` is the size of its metadata."""
        key = stored.session.key
        self._kept.pop(key, None)
        if metadata_bytes > LARGEST_METADATA_BYTES or stored.upkeep.hidden:
            return
        self._kept[key] = stored
        if len(self._kept) > MOST_SESSIONS:
            self._kept.popitem(last=False)

    def update(self, stored: StoredSession) -> None:
        """Replaces a row, if it is kept, by one with the same metadata."""
        if stored.session.key in self._kept:
            self.add(stored, 0)

    def drop(self, key: SessionKey) -> None:
        self._kept.pop(key, None)
