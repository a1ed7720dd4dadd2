"""Records of an import in slices are stored beside those that they will replace: the key of a record and of its terms
includes the first position of the import since which its session has the record.

Which records are hidden was known by their positions in the log before.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from sessions_server.storage.errors import StoreRefused

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
OWNER = ("tenant", "session_id", "user_id", "records_start")
KEYS = {
    "records": (*OWNER, "collection", "key"),
    "record_terms": (*OWNER, "path", "term", "name_hash"),
}

SET_START = """
UPDATE records SET records_start = sessions.records_start FROM sessions
WHERE sessions.records_start > 0 AND records.position >= sessions.records_start
AND records.tenant = sessions.tenant AND records.session_id = sessions.session_id
"""
SET_START_OF_TERMS = """
UPDATE record_terms SET records_start = records.records_start FROM records
WHERE records.records_start > 0
AND records.tenant = record_terms.tenant AND records.session_id = record_terms.session_id
AND records.user_id = record_terms.user_id
AND records.collection = record_terms.collection AND records.key = record_terms.key
"""


def upgrade() -> None:
    for table in KEYS:
        start = sa.Column("records_start", sa.BigInteger, nullable=False, server_default="0")
        op.add_column(table, start)
    op.execute(SET_START)
    op.execute(SET_START_OF_TERMS)
    if op.get_bind().dialect.name == "sqlite":
        _rebuild("records", _record_columns())
        _rebuild("record_terms", _term_columns())
        _partial_index(
            "ix_record_terms_all",
            "record_terms",
            ["tenant", "path", "term", "session_id", "name_hash"],
            "session_id <> ''",
        )
        _partial_index("ix_records_expire_time", "records", ["expire_time"], "expire_time IS NOT NULL")
    else:
        _change_keys()
    _add_indexes()
    op.drop_column("erasures", "after")


def downgrade() -> None:
    raise StoreRefused(
        "The database was brought up to date by this release and cannot go back; restore the backup that was made "
        "before, or export the sessions and import them with the older release."
    )


def _change_keys() -> None:
    for table, key in KEYS.items():
        op.alter_column(table, "records_start", server_default=None)
        op.drop_constraint(f"pk_{table}", table)
        op.create_primary_key(f"pk_{table}", table, list(key))
    op.drop_column("records", "position")
    for suffix in ("time", "scope_time", "all_key", "all_time", "all_scope_time"):
        op.drop_index(f"ix_records_{suffix}", "records")


def _rebuild(table: str, columns: list[sa.Column[Any]]) -> None:
    """SQLite cannot change a primary key: https://sqlite.org/lang_altertable.html#otheralter"""
    key = sa.PrimaryKeyConstraint(*KEYS[table], name=f"pk_{table}")
    names = ", ".join(column.name for column in columns)
    op.create_table(f"new_{table}", *columns, key)
    op.execute(f"INSERT INTO new_{table} ({names}) SELECT {names} FROM {table} ORDER BY rowid")  # noqa: S608  # names of this file
    op.drop_table(table)
    op.rename_table(f"new_{table}", table)


def _record_columns() -> list[sa.Column[Any]]:
    return [
        *_owner_columns(),
        *(_text("collection"), _text("key"), _number("time")),
        *(_number("expire_time", nullable=True), _number("ttl", nullable=True)),
        *(_number("create_time"), _number("update_time"), _text("etag"), _text("value_type")),
        *(_number("size"), sa.Column("sealed", sa.SmallInteger, nullable=False)),
        *(_text("full_collection", nullable=True), sa.Column("labels", JSON, nullable=False)),
        sa.Column("value", sa.LargeBinary, nullable=False),
    ]


def _term_columns() -> list[sa.Column[Any]]:
    return [
        *_owner_columns(),
        *(_text("path"), _text("term"), sa.Column("name_hash", sa.LargeBinary, nullable=False)),
        *(_text("collection"), _text("key")),
    ]


def _owner_columns() -> list[sa.Column[Any]]:
    return [_text("tenant"), _text("session_id"), _text("user_id"), _number("records_start")]


def _add_indexes() -> None:
    op.create_index("ix_records_time", "records", [*OWNER, "collection", "time", "key"])
    op.create_index("ix_records_scope_time", "records", [*OWNER, "time", "collection", "key"])
    for name, columns in {
        "ix_records_all_key": ("collection", "key"),
        "ix_records_all_time": ("collection", "time", "key"),
        "ix_records_all_scope_time": ("time", "collection", "key"),
    }.items():
        all_columns = ["tenant", *columns, "session_id", "records_start"]
        _partial_index(name, "records", all_columns, "session_id <> ''")


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
