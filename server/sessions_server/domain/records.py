"""Records: small values, each identified by a scope, a collection and a key.

A record belongs to a session, a user or the whole tenant. Records have no history: a write replaces the previous value.
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
    """The owner of a record: a session, a user or, if neither is set, the whole tenant."""

    tenant: str
    session_id: str = ""
    user_id: str = ""

    @property
    def session(self) -> SessionKey | None:
        """The session that the records belong to; None for shared ones."""
        return SessionKey(self.tenant, self.session_id) if self.session_id else None

    @property
    def cell_key(self) -> SessionKey:
        """Stands in for the session id where values are encrypted; for shared records an id that no session can
        have."""
        return self.session or SessionKey(self.tenant, f"user/{self.user_id}" if self.user_id else "tenant/")


def is_shared(key: SessionKey) -> bool:
    """Whether a `cell_key` is that of shared records."""
    return "/" in key.session_id


class RecordName(NamedTuple):
    """Identifies a record. The natural order is by code point."""

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
    """Stored unencrypted, so that records can be found by them."""
    time: Micros
    """The caller's own time, by which lists can be ordered."""
    ttl: Micros | None
    etag: str
    create_time: Micros
    update_time: Micros
    expire_time: Micros | None
    """When the record expires. A read that refreshes the ttl moves it."""


class PutRecord(NamedTuple):
    """Stores a record, replacing an existing one."""

    name: RecordName
    value: bytes
    labels: JsonObject
    etag: str
    """The record's new etag, chosen by the caller or generated; never empty."""
    value_type: str = ""
    time: Micros | None = None
    """None for the time of the commit."""
    ttl: Micros | None = None
    if_absent: bool = False
    """Whether to keep an existing record, which is not an error."""

    def need(self, needs: Needs) -> None:
        needs.records.add(self.name)


class DeleteRecord(NamedTuple):
    name: RecordName
    prefix: bool = False
    """Whether to delete every record of the collection whose key starts with the name's key."""

    def need(self, needs: Needs) -> None:
        (needs.prefixes if self.prefix else needs.records).add(self.name)


class RecordState(Enum):
    ABSENT = "absent"
    PRESENT = "present"
    UNCHANGED = "unchanged"
    """Exists and has the condition's etag."""


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
    """Whether `if_absent` was set and a record existed."""


class RecordsDeleted(NamedTuple):
    """The result of DeleteRecord."""

    deleted_count: int


class RecordChange(NamedTuple):
    """One changed record in a commit's event."""

    name: RecordName
    etag: str
    """The record's new etag; if it was deleted, its last."""
    deleted: bool


class RecordHead(NamedTuple):
    """What must be known about a stored record before it is written."""

    etag: str
    create_time: Micros
    labels: JsonObject


@dataclass(frozen=True, slots=True)
class Records:
    """The records named by a transaction's commits: first as loaded, then as changed by the commits so far."""

    heads: Mapping[RecordName, RecordHead] = field(default_factory=dict)
    """Existing records; those that commits name and that are missing here do not exist."""
    writes: Mapping[RecordName, Record | None] = field(default_factory=dict)
    """What to save; None is a deletion."""
    erased: frozenset[SessionKey] = frozenset()
    """Sessions whose stored records are deleted before anything is saved."""
    commit: Mapping[RecordName, RecordHead | None] = field(default_factory=dict)
    """The records touched by the current commit, as they were before it."""

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
        """Raises LimitExceeded if the prefix has too many records."""
        prefix = delete.name
        if delete.prefix:
            found = [name for name in self.heads if _is_below(name, prefix)]
        else:
            found = [prefix] if prefix in self.heads else []
        if len(found) > limits.records_per_delete:
            raise LimitExceeded(
                f"One operation deletes at most {limits.records_per_delete:,} records; "
                "delete by longer prefixes, one after another.",
                field="operations",
            )
        return self._with(dict.fromkeys(found)), RecordsDeleted(len(found))

    def restored(self, record: Record) -> Records:
        """A copy with a record stored exactly as given and not reported by an event."""
        return self._with({record.name: record}).after_commit()

    def refuses(self, condition: RecordIs) -> str | None:
        """The current etag if the condition fails, empty if there is no record; None if the condition holds."""
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
        """The net effect of the current commit: one change for each record that differs afterwards."""
        found = ((name, before, self.heads.get(name)) for name, before in self.commit.items())
        return tuple(
            RecordChange(name, head.etag, deleted=after is None)
            for name, before, after in found
            if (head := after or before) is not None
        )

    def after_commit(self) -> Records:
        """A copy for the end of a commit."""
        return replace(self, commit={}) if self.commit else self

    def without_session(self, key: SessionKey) -> Records:
        """A copy after the session and its records were erased."""
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
    """A change in an event's payload; its tenant is that of the event."""
    (_, *owner), collection, key = change.name
    return [[*owner], [*collection], key, change.etag, change.deleted]


def change_from_json(tenant: str, raw: list[Any]) -> RecordChange:
    owner, collection, key, etag, deleted = raw
    return RecordChange(RecordName(Scope(tenant, *owner), tuple(collection), key), etag, deleted)
