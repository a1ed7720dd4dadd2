"""Maintenance of the store. Each step handles a bounded number of rows, so that writers run in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import sqlalchemy as sa

from sessions_server.domain.errors import DomainError
from sessions_server.domain.models import Micros, SessionKey
from sessions_server.domain.records import is_shared
from sessions_server.domain.upkeep import Rewrapped
from sessions_server.storage.schema import requests, sessions
from sessions_server.storage.shared_keys import keys_after, replace_keys
from sessions_server.storage.statements import Prepared, WriteOrder, read_clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Cells


_REQUEST_KEY: Final = (requests.c.request_id, requests.c.tenant, requests.c.session_id)
_ORDER: Final = WriteOrder(requests.c.time)
_OLDEST: Final = (
    sa.select(*_REQUEST_KEY, requests.c.time)
    .where(_ORDER > 0)
    .order_by(_ORDER)
    .limit(sa.bindparam("count"))
    .subquery()
)
# Those from far in the future were written while the clock was wrong, and must not keep others from being found.
_PURGE_REQUESTS: Final = Prepared(
    requests.delete().where(
        sa.tuple_(*_REQUEST_KEY).in_(
            sa.select(*(_OLDEST.c[column.name] for column in _REQUEST_KEY)).where(
                sa.or_(_OLDEST.c.time <= sa.bindparam("until"), _OLDEST.c.time > sa.bindparam("beyond"))
            )
        )
    )
)

_KEY: Final = (sessions.c.tenant, sessions.c.session_id)
_AFTER: Final = sa.tuple_(*_KEY) > sa.tuple_(
    sa.bindparam("after_tenant", type_=sa.Text), sa.bindparam("after_session_id", type_=sa.Text)
)
_KEYS: Final = Prepared(sa.select(*_KEY).where(_AFTER).order_by(*_KEY).limit(sa.bindparam("count")))
_ENCRYPTED: Final = Prepared(
    sa.select(*_KEY, sessions.c.data_key)
    .where(_AFTER, sessions.c.data_key.is_not(None))
    .order_by(*_KEY)
    .limit(sa.bindparam("count"))
)

_IS_SESSION: Final = (
    sessions.c.tenant == sa.bindparam("key_tenant"),
    sessions.c.session_id == sa.bindparam("key_session_id"),
)
_REPLACE_DATA_KEY: Final = Prepared(
    sessions.update()
    .values(data_key=sa.bindparam("new_data_key", type_=sessions.c.data_key.type))
    .where(*_IS_SESSION, sessions.c.data_key == sa.bindparam("old_data_key", type_=sessions.c.data_key.type))
)
_COUNTED: Final[tuple[sa.ColumnElement[Any], ...]] = (sa.func.count(), sa.func.count(sessions.c.data_key))
_COUNTS: Final = Prepared(sa.select(*_COUNTED).select_from(sessions))


class Counts(NamedTuple):
    sessions: int
    encrypted: int


def purge_requests(connection: Connection, limit: int, *, limits: Limits, now: Micros | None) -> int:
    """Deletes the expired ones among the first `limit` request ids, in the order in which they were written."""
    now, kept = read_clock(connection, now), limits.request_ids_kept
    return _PURGE_REQUESTS.run(connection, until=now - kept, beyond=now + kept, count=limit)


Fresh: TypeAlias = "tuple[bytes, SessionKey, bytes]"
"""A data key under the current key, its session or shared scope, and the data key as stored."""


def find_stale_data_keys(
    connection: Connection, after: SessionKey | None, limit: int, *, cells: Cells
) -> tuple[Rewrapped, list[Fresh]]:
    """Reads the next encrypted sessions, and after the last of them the shared scopes, and rewraps the data keys that
    are not under the current key. Locks nothing."""
    found = _encrypted(connection, after, limit)
    fresh: list[Fresh] = []
    failures: list[DomainError] = []
    for key, old in found:
        try:
            new = cells.rewrap(*key, old)
        except DomainError as error:
            failures.append(error)
        else:
            fresh += [(new, key, old)] if new is not None else []
    last = found[-1][0] if found else None
    return Rewrapped(last, len(found), len(fresh), tuple(failures)), fresh


def _encrypted(
    connection: Connection, after: SessionKey | None, limit: int
) -> list[tuple[SessionKey, bytes]]:
    if after is not None and is_shared(after):
        return keys_after(connection, after, limit)
    rows = _ENCRYPTED.rows(connection, **_place(after), count=limit)
    if not rows:
        return keys_after(connection, None, limit)
    # A value of another type is damaged, and so is an empty one.
    return [
        (SessionKey(tenant, session_id), data_key if isinstance(data_key, bytes) else b"")
        for tenant, session_id, data_key in rows
    ]


def replace_data_keys(connection: Connection, fresh: list[Fresh]) -> int:
    """Replaces data keys, except of sessions that were recreated or rewrapped by another replica meanwhile. Returns how
    many keys it was given."""
    of_sessions = [(new, *key, old) for new, key, old in fresh if not is_shared(key)]
    _REPLACE_DATA_KEY.many(connection, of_sessions)
    replace_keys(connection, [each for each in fresh if is_shared(each[1])])
    return len(fresh)


def counts(connection: Connection) -> Counts:
    return Counts(*_COUNTS.rows(connection)[0])


def keys(connection: Connection, after: SessionKey | None, limit: int) -> list[SessionKey]:
    return [SessionKey(*row) for row in _KEYS.rows(connection, **_place(after), count=limit)]


def _place(after: SessionKey | None) -> dict[str, str]:
    tenant, session_id = after or ("", "")
    return {"after_tenant": tenant, "after_session_id": session_id}
