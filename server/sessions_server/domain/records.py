"""Records: small values of their own, each addressed by a scope, a collection and a key.

A record belongs to a session, to a user or to the whole tenant. Records have no past: a write replaces what was there.
`RecordEdits` decides the operations of one commit; `RecordBook` keeps what a whole transaction has loaded and changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sessions_server.domain.errors import LimitExceeded
from sessions_server.domain.models import JsonObject, Micros, SessionKey

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits


class Scope(NamedTuple):
    """Who a record belongs to: a session, a user or, without either, the whole tenant."""

    tenant: str
    session_id: str = ""
    user_id: str = ""

    @property
    def session(self) -> SessionKey | None:
        """The session that the records live with; None for shared ones."""
        return SessionKey(self.tenant, self.session_id) if self.session_id else None


class RecordName(NamedTuple):
    scope: Scope
    collection: tuple[str, ...]
    """1 to 16 strings of 1 to 256 characters."""
    key: str
    """0 to 1,024 bytes of UTF-8."""


class Record(NamedTuple):
    name: RecordName
    value: bytes
    value_type: str
    labels: JsonObject
    """Stored in clear, so that records can be found by them."""
    time: Micros
    """The caller's own time, which lists can be ordered by."""
    ttl: Micros | None
    etag: str
    create_time: Micros
    update_time: Micros
    expire_time: Micros | None
    """From this instant on the record is gone. A refreshing read moves it."""


class RecordHead(NamedTuple):
    """What a decision needs to know of a stored record."""

    etag: str
    create_time: Micros


class RecordPut(NamedTuple):
    """Stores a record in place of what was there."""

    name: RecordName
    value: bytes
    etag: str
    """The etag that the record gets, chosen by the caller or made for it; never empty."""
    value_type: str = ""
    labels: JsonObject = {}  # noqa: RUF012 - never changed, like every object of the domain
    time: Micros | None = None
    """None: the time of the commit."""
    ttl: Micros | None = None
    if_absent: bool = False
    """A record that is there is kept, which is not an error."""


class RecordDelete(NamedTuple):
    name: RecordName
    prefix: bool = False
    """Deletes every record of the collection whose key begins with the name's key."""


class RecordState(Enum):
    ABSENT = "absent"
    PRESENT = "present"
    UNCHANGED = "unchanged"
    """Present, with the condition's etag."""


class RecordCondition(NamedTuple):
    name: RecordName
    state: RecordState
    etag: str = ""


RecordOperation: TypeAlias = "RecordPut | RecordDelete"


class RecordResult(NamedTuple):
    """The outcome of a put."""

    etag: str
    kept: bool = False
    """`if_absent` was given and a record was there."""


class RecordChange(NamedTuple):
    """What a commit does to one record."""

    name: RecordName
    etag: str
    """The record's new etag; of a deleted record, its last."""
    record: Record | None
    """What is stored from now on; None: nothing."""


class RecordNeeds(NamedTuple):
    """The records that must be locked and loaded before operations on them are decided."""

    names: frozenset[RecordName] = frozenset()
    prefixes: frozenset[RecordName] = frozenset()
    """Every record of the collection whose key begins with the name's key."""

    def __or__(self, other: RecordNeeds) -> RecordNeeds:
        return RecordNeeds(self.names | other.names, self.prefixes | other.prefixes)

    def __bool__(self) -> bool:
        return bool(self.names or self.prefixes)


def record_needs(
    conditions: Iterable[RecordCondition] = (), operations: Iterable[RecordOperation] = ()
) -> RecordNeeds:
    """What the conditions and operations of a commit need."""
    names = {condition.name for condition in conditions}
    prefixes = set()
    for operation in operations:
        if isinstance(operation, RecordDelete) and operation.prefix:
            prefixes.add(operation.name)
        else:
            names.add(operation.name)
    return RecordNeeds(frozenset(names), frozenset(prefixes))


def is_below(name: RecordName, prefix: RecordName) -> bool:
    """Whether a deletion of `prefix` covers the record."""
    return name[:2] == prefix[:2] and name.key.startswith(prefix.key)


class RecordEdits:
    """Decides the operations of one commit, one after another, on the records as they were before it.

    Nothing outside is changed: a commit that is refused throws its edits away.
    """

    def __init__(self, stored: Mapping[RecordName, RecordHead], now: Micros, limits: Limits) -> None:
        self._stored = stored
        self._now = now
        self._limits = limits
        self._changes: dict[RecordName, RecordChange] = {}

    @property
    def changes(self) -> tuple[RecordChange, ...]:
        """What the operations came to: one change for each record that differs now, in the order of the first ones."""
        return tuple(
            change
            for change in self._changes.values()
            if change.record is not None or change.name in self._stored
        )

    def head(self, name: RecordName) -> RecordHead | None:
        """The record as the operations so far have left it; None: it is absent."""
        change = self._changes.get(name)
        if change is None:
            return self._stored.get(name)
        record = change.record
        return None if record is None else RecordHead(record.etag, record.create_time)

    def holds(self, condition: RecordCondition) -> bool:
        head = self.head(condition.name)
        if condition.state is RecordState.UNCHANGED:
            return head is not None and head.etag == condition.etag
        return (head is not None) is (condition.state is RecordState.PRESENT)

    def put(self, put: RecordPut) -> RecordResult:
        head = self.head(put.name)
        if put.if_absent and head is not None:
            return RecordResult(head.etag, kept=True)
        now = self._now
        record = Record(
            name=put.name,
            value=put.value,
            value_type=put.value_type,
            labels=put.labels,
            time=now if put.time is None else put.time,
            ttl=put.ttl,
            etag=put.etag,
            create_time=now if head is None else head.create_time,
            update_time=now,
            expire_time=None if put.ttl is None else Micros(now + put.ttl),
        )
        self._changes[put.name] = RecordChange(put.name, put.etag, record)
        return RecordResult(put.etag)

    def delete(self, delete: RecordDelete) -> int:
        """Returns how many records it deletes. Raises LimitExceeded for a prefix of too many."""
        found = (
            [(delete.name, self.head(delete.name))] if not delete.prefix else list(self._below(delete.name))
        )
        gone = [RecordChange(name, head.etag, None) for name, head in found if head is not None]
        most = self._limits.records_per_delete
        if len(gone) > most:
            raise LimitExceeded(
                f"One operation deletes at most {most} records; delete longer prefixes, one after another.",
                field="operations",
            )
        self._changes.update((change.name, change) for change in gone)
        return len(gone)

    def _below(self, prefix: RecordName) -> Iterator[tuple[RecordName, RecordHead | None]]:
        names = dict.fromkeys((*self._stored, *self._changes))
        return ((name, self.head(name)) for name in names if is_below(name, prefix))


@dataclass(slots=True)
class RecordBook:
    """The records of one transaction: as loaded, then as changed by one commit after another."""

    heads: dict[RecordName, RecordHead] = field(default_factory=dict)
    """Every record that the commands need and that is there."""
    changes: dict[RecordName, RecordChange] = field(default_factory=dict)
    """What is to be saved."""

    def take(self, changes: Iterable[RecordChange]) -> None:
        """Applies what a commit decided."""
        for change in changes:
            record = change.record
            if record is None:
                self.heads.pop(change.name, None)
            else:
                self.heads[change.name] = RecordHead(record.etag, record.create_time)
            self.changes[change.name] = change

    def erase(self, key: SessionKey) -> None:
        """Forgets the records of a session that is erased, which the store deletes with it."""
        for records in (self.heads, self.changes):
            for name in [name for name in records if name.scope.session == key]:
                del records[name]
