"""Records: small values of their own, each addressed by a scope, a collection and a key.

A record belongs to a session, to a user or to the whole tenant. Records have no past: a write replaces what was there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from sessions_server.domain.errors import LimitExceeded
from sessions_server.domain.models import Json, JsonObject, Micros, SessionKey

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.needs import Needs


class Scope(NamedTuple):
    """Who a record belongs to: a session, a user or, without either, the whole tenant."""

    tenant: str
    session_id: str = ""
    user_id: str = ""

    @property
    def session(self) -> SessionKey | None:
        """The session that the records live with; None for shared ones."""
        return SessionKey(self.tenant, self.session_id) if self.session_id else None

    @property
    def cell_key(self) -> SessionKey:
        """What takes the place of a session where values are sealed: of shared records an id that no session has."""
        return self.session or SessionKey(self.tenant, f"user/{self.user_id}" if self.user_id else "tenant/")


def is_shared(key: SessionKey) -> bool:
    """Whether a `cell_key` is that of shared records."""
    return "/" in key.session_id


class RecordName(NamedTuple):
    """A record's address. Its natural order is by code point."""

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


class PutRecord(NamedTuple):
    """Stores a record in place of what is there."""

    name: RecordName
    value: bytes
    labels: JsonObject
    etag: str
    """The etag that the record gets, chosen by the caller or made for it; never empty."""
    value_type: str = ""
    time: Micros | None = None
    """None: the time of the commit."""
    ttl: Micros | None = None
    if_absent: bool = False
    """A record that is there is kept, which is not an error."""

    def need(self, needs: Needs) -> None:
        needs.records.add(self.name)


class DeleteRecord(NamedTuple):
    name: RecordName
    prefix: bool = False
    """Deletes every record of the collection whose key begins with the name's key."""

    def need(self, needs: Needs) -> None:
        (needs.prefixes if self.prefix else needs.records).add(self.name)


class RecordState(Enum):
    ABSENT = "absent"
    PRESENT = "present"
    UNCHANGED = "unchanged"
    """Present, with the condition's etag."""


class RecordIs(NamedTuple):
    """The record is in this state."""

    name: RecordName
    state: RecordState
    etag: str = ""

    def need(self, needs: Needs) -> None:
        needs.records.add(self.name)


class RecordWritten(NamedTuple):
    """The result of PutRecord."""

    etag: str
    kept: bool = False
    """`if_absent` was given and a record was there."""


class RecordsDeleted(NamedTuple):
    """The result of DeleteRecord."""

    deleted_count: int


class RecordChange(NamedTuple):
    """What a commit's event says of one record that it changed."""

    name: RecordName
    etag: str
    """The record's new etag; of a deleted record, its last."""
    deleted: bool


class RecordHead(NamedTuple):
    """What has to be known of a stored record before it is written."""

    etag: str
    create_time: Micros
    labels: JsonObject


@dataclass(frozen=True, slots=True)
class Records:
    """The records that a transaction's commits name: as loaded, then as the commits so far have left them."""

    heads: Mapping[RecordName, RecordHead] = field(default_factory=dict)
    """Those that are there; what the commits name and is not here is absent."""
    writes: Mapping[RecordName, Record | None] = field(default_factory=dict)
    """What is to be saved; None: a deletion."""
    erased: frozenset[SessionKey] = frozenset()
    """Sessions whose stored records go, before anything is saved."""
    commit: Mapping[RecordName, RecordHead | None] = field(default_factory=dict)
    """How the records that the current commit touches were before it."""

    def put(self, put: PutRecord, now: Micros) -> tuple[Records, RecordWritten]:
        head = self.heads.get(put.name)
        if put.if_absent and head is not None:
            return self, RecordWritten(head.etag, kept=True)
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
        return self._with({put.name: record}), RecordWritten(put.etag)

    def delete(self, delete: DeleteRecord, limits: Limits) -> tuple[Records, RecordsDeleted]:
        """Raises LimitExceeded for a prefix of too many records."""
        prefix = delete.name
        if delete.prefix:
            found = [name for name in self.heads if _is_below(name, prefix)]
        else:
            found = [prefix] if prefix in self.heads else []
        if len(found) > limits.records_per_delete:
            raise LimitExceeded(
                f"One operation deletes at most {limits.records_per_delete} records; "
                "delete by longer prefixes, one after another.",
                field="operations",
            )
        return self._with(dict.fromkeys(found)), RecordsDeleted(len(found))

    def restored(self, record: Record) -> Records:
        """The same with a record exactly as it is given, of which no event tells."""
        return self._with({record.name: record}).settled()

    def refuses(self, condition: RecordIs) -> str | None:
        """The etag of the record that fails the condition, empty where there is none; None: the condition holds."""
        head = self.heads.get(condition.name)
        if condition.state is RecordState.UNCHANGED:
            holds = head is not None and head.etag == condition.etag
        else:
            holds = (head is not None) is (condition.state is RecordState.PRESENT)
        if holds:
            return None
        return "" if head is None else head.etag

    @property
    def changes(self) -> tuple[RecordChange, ...]:
        """What the current commit comes to: one change for each record that it leaves otherwise than it found it."""
        found = ((name, before, self.heads.get(name)) for name, before in self.commit.items())
        return tuple(
            RecordChange(name, (after or before).etag, deleted=after is None)  # type: ignore[union-attr]
            for name, before, after in found
            if after is not None or before is not None
        )

    def settled(self) -> Records:
        """The same at the end of a commit."""
        return replace(self, commit={}) if self.commit else self

    def without_session(self, key: SessionKey) -> Records:
        """The same after the session was erased, and its records with it."""
        return Records(
            {name: head for name, head in self.heads.items() if name.scope.session != key},
            {name: write for name, write in self.writes.items() if name.scope.session != key},
            self.erased | {key},
            {name: before for name, before in self.commit.items() if name.scope.session != key},
        )

    def _with(self, writes: Mapping[RecordName, Record | None]) -> Records:
        heads = dict(self.heads)
        before = {name: heads.pop(name, None) for name in writes}
        unseen = {name: head for name, head in before.items() if name not in self.commit}
        for name, record in writes.items():
            if record is not None:
                heads[name] = RecordHead(record.etag, record.create_time, record.labels)
        return replace(self, heads=heads, writes={**self.writes, **writes}, commit={**self.commit, **unseen})


def _is_below(name: RecordName, prefix: RecordName) -> bool:
    return name[:2] == prefix[:2] and name.key.startswith(prefix.key)


def change_json(change: RecordChange) -> Json:
    """A change as an event's payload has it; the tenant is that of the event."""
    (_, *owner), collection, key = change.name
    return [[*owner], [*collection], key, change.etag, change.deleted]


def change_from_json(tenant: str, raw: list[Any]) -> RecordChange:
    owner, collection, key, etag, deleted = raw
    return RecordChange(RecordName(Scope(tenant, *owner), tuple(collection), key), etag, deleted)
