"""What can be asked about records: pages of them, and the collections that they are in."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sessions_server.domain.filters import Condition
    from sessions_server.domain.models import Micros
    from sessions_server.domain.records import Record, Scope


class RecordOrder(StrEnum):
    """By key, or by the caller's time; ties by collection, key and session."""

    KEY = "key"
    KEY_DESC = "key desc"
    TIME = "time"
    TIME_DESC = "time desc"

    @property
    def by_time(self) -> bool:
        return self in (RecordOrder.TIME, RecordOrder.TIME_DESC)

    @property
    def descending(self) -> bool:
        return self in (RecordOrder.KEY_DESC, RecordOrder.TIME_DESC)


class RecordPlace(NamedTuple):
    """Where a record is in a list."""

    time: Micros
    collection: str
    """As it is stored."""
    key: str
    session_id: str


class RecordQuery(NamedTuple):
    scope: Scope
    all_sessions: bool = False
    """Of every session of the scope's tenant."""
    collection: tuple[str, ...] = ()
    subtree: bool = False
    """With the collections within, in the order of their paths when the order is by key."""
    key_prefix: str = ""
    after_key: str = ""
    """Empty: from the first key on."""
    before_key: str = ""
    """Empty: to the last key."""
    conditions: tuple[Condition, ...] = ()
    """What the labels must satisfy, all of it."""
    order: RecordOrder = RecordOrder.KEY
    keys_only: bool = False
    """The values are left out."""
    refresh_ttl: bool = False
    """Starts the ttls of the records that are found again."""
    limit: int = 100
    after: RecordPlace | None = None

    @property
    def is_search(self) -> bool:
        """Whether many more records may be looked at than are returned."""
        bounded = bool(self.key_prefix or self.after_key or self.before_key)
        return bool(self.conditions) or self.subtree or (bounded and self.order.by_time)


class RecordPage(NamedTuple):
    records: tuple[Record, ...]
    next: RecordPlace | None
    """Where the next page begins; None: there is none. A page may be short, or even empty, and have a next one."""


class CollectionQuery(NamedTuple):
    scope: Scope
    all_sessions: bool = False
    prefix: tuple[str, ...] = ()
    max_depth: int = 0
    """Longer paths are cut to this many strings; 0: none are."""
    limit: int = 100
    after: tuple[str, ...] | None = None
    """The last path of the page before."""


class CollectionPage(NamedTuple):
    paths: tuple[tuple[str, ...], ...]
    has_more: bool
