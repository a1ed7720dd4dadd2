"""The data keys of shared records: one for each user of a tenant, and one for the tenant itself.

A key is created with the first record that is written while the server has a keyring. From then on everything written
in the scope is encrypted; after a restart without the keyring such writes are refused.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.domain.models import SessionKey
from sessions_server.domain.records import Scope
from sessions_server.storage.content import Content
from sessions_server.storage.schema import shared_keys
from sessions_server.storage.statements import Prepared, as_list, is_listed, listed

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.engine import Connection

    from sessions_server.storage.rules import Rules

_keys = listed("keys")
_FIND: Final = Prepared(
    sa.select(shared_keys)
    .select_from(_keys)
    .join(shared_keys, is_listed(_keys, shared_keys.c.tenant, shared_keys.c.user_id))
)
_ADD: Final = Prepared(shared_keys.insert())

_PLACE: Final = (shared_keys.c.tenant, shared_keys.c.user_id)
_AFTER: Final = Prepared(
    sa.select(shared_keys)
    .where(
        sa.tuple_(*_PLACE)
        > sa.tuple_(sa.bindparam("after_tenant", type_=sa.Text), sa.bindparam("after_user_id", type_=sa.Text))
    )
    .order_by(*_PLACE)
    .limit(sa.bindparam("count"))
)
_REPLACE: Final = Prepared(
    shared_keys.update()
    .values(data_key=sa.bindparam("new_data_key", type_=shared_keys.c.data_key.type))
    .where(
        shared_keys.c.tenant == sa.bindparam("key_tenant"),
        shared_keys.c.user_id == sa.bindparam("key_user_id"),
        shared_keys.c.data_key == sa.bindparam("old_data_key", type_=shared_keys.c.data_key.type),
    )
)


def _scope_of(key: SessionKey) -> Scope:
    return Scope(key.tenant, user_id=key.session_id.partition("/")[2])


def shared_content(scope: Scope, data_key: bytes | None, rules: Rules) -> Content:
    return Content(rules.cells, scope.cell_key, data_key)


def contents_for_writing(
    connection: Connection, scopes: Collection[Scope], rules: Rules
) -> dict[Scope, Content]:
    """The contents of shared scopes, with new data keys if there are none yet and a keyring to wrap them."""
    found = _find(connection, scopes)
    absent = sorted(set(scopes) - found.keys())
    if absent and rules.cells.keyring() is not None:
        if rules.backend.locks is not None:
            pairs = as_list(sorted(map(_lock_pair, absent)))
            rules.backend.locks.numbers.rows(connection, pairs=pairs, now=None)
            found |= _find(connection, absent)
        added = {scope: rules.cells.new_key(*scope.cell_key) for scope in absent if scope not in found}
        _ADD.many(connection, [(scope.tenant, scope.user_id, data_key) for scope, data_key in added.items()])
        found |= added
    return {scope: shared_content(scope, found.get(scope), rules) for scope in scopes}


def keys_after(
    connection: Connection, after: SessionKey | None, limit: int
) -> list[tuple[SessionKey, bytes]]:
    """The next scopes, by `Scope.cell_key`, with their data keys; None to start with the first."""
    place = Scope("") if after is None else _scope_of(after)
    rows = _AFTER.rows(connection, after_tenant=place.tenant, after_user_id=place.user_id, count=limit)
    return [(Scope(tenant, user_id=user_id).cell_key, bytes(data_key)) for tenant, user_id, data_key in rows]


def replace_keys(connection: Connection, fresh: list[tuple[bytes, SessionKey, bytes]]) -> None:
    """Replaces each old data key by the new one, unless another server has replaced it meanwhile."""
    scopes = [(new, _scope_of(key), old) for new, key, old in fresh]
    _REPLACE.many(connection, [(new, scope.tenant, scope.user_id, old) for new, scope, old in scopes])


def _find(connection: Connection, scopes: Collection[Scope]) -> dict[Scope, bytes]:
    by_key = {(scope.tenant, scope.user_id): scope for scope in scopes}
    rows = _FIND.rows(connection, keys=as_list(by_key))
    return {by_key[tenant, user_id]: bytes(data_key) for tenant, user_id, data_key in rows}


def _lock_pair(scope: Scope) -> tuple[int, int]:
    """The lock for creating a scope's data key. The last lock that a transaction takes."""
    return lock_number("shared_keys", scope.tenant), lock_number(scope.user_id)


def lock_number(*parts: str) -> int:
    """A signed 32-bit number for a lock; two names may share one, and then wait for each other."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big", signed=True)
