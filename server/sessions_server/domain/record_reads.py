"""Queries on records: pages of records, and the collections that they are in."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sessions_server.domain.filters import Condition
    from sessions_server.domain.models import Micros
    from sessions_server.domain.records import Record, Scope


class RecordOrder(StrEnum):
    """By key, or by the caller's time; ties are ordered by collection, key and session."""

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
    """The position of a record in a list."""

    time: Micros
    collection: str
    """In its stored form."""
    key: str
    session_id: str
    records_start: int = 0
    """Distinguishes stored records with one name, of which at most one exists, in a list over all sessions."""


class RecordQuery(NamedTuple):
    scope: Scope
    all_sessions: bool = False
    """Whether to include every session of the scope's tenant."""
    collection: tuple[str, ...] = ()
    subtree: bool = False
    """Whether to include nested collections, ordered by path if the order is by key."""
    key_prefix: str = ""
    after_key: str = ""
    """Empty to begin at the first key."""
    before_key: str = ""
    """Empty to end at the last key."""
    conditions: tuple[Condition, ...] = ()
    """Conditions on the labels; all must hold."""
    order: RecordOrder = RecordOrder.KEY
    keys_only: bool = False
    """Whether to leave out the values."""
    values_only: bool = False
    """Whether to leave out everything else."""
    refresh_ttl: bool = False
    """Whether to restart the ttls of the records found."""
    limit: int = 100
    after: RecordPlace | None = None

    @property
    def is_search(self) -> bool:
        """Whether the query may examine many more records than it returns. Indexes have the records of a collection in
        order of key and in order of time, and those of a subtree in order of key. A subtree by time, a range of keys of
        a subtree or by time, and conditions on labels take a search."""
        bounded = bool(self.key_prefix or self.after_key or self.before_key)
        return bool(self.conditions) or sum((self.subtree, bounded, self.order.by_time)) > 1


class RecordPage(NamedTuple):
    records: tuple[Record, ...]
    """Empty if only the values were requested."""
    next: RecordPlace | None
    """Where the next page begins; None if there is none. A page may be short or even empty and still have a next
    page."""
    values: tuple[bytes, ...] = ()
    """The values of the records, if only these were requested."""


class CollectionQuery(NamedTuple):
    scope: Scope
    all_sessions: bool = False
    prefix: tuple[str, ...] = ()
    max_depth: int = 0
    """Longer paths are cut to this many strings; 0 cuts none."""
    limit: int = 100
    after: tuple[str, ...] | None = None
    """The last path of the previous page."""


class CollectionPage(NamedTuple):
    paths: tuple[tuple[str, ...], ...]
    has_more: bool
