"""Records, the index terms to find them by, and the keys of shared ones. All tables are new."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
OWNER = ("tenant", "session_id", "user_id")


def upgrade() -> None:
    _records()
    _terms()
    op.create_table(
        "shared_keys",
        *(_text("tenant"), _text("user_id"), sa.Column("data_key", sa.LargeBinary, nullable=False)),
        sa.PrimaryKeyConstraint("tenant", "user_id", name="pk_shared_keys"),
    )


def downgrade() -> None:
    for table in ("shared_keys", "record_terms", "records"):
        op.drop_table(table)


def _records() -> None:
    op.create_table(
        "records",
        *map(_text, OWNER),
        *(_text("collection"), _text("key"), _number("time")),
        *(_number("expire_time", nullable=True), _number("ttl", nullable=True)),
        *(_number("create_time"), _number("update_time"), _text("etag"), _text("value_type")),
        *(_number("size"), sa.Column("sealed", sa.SmallInteger, nullable=False)),
        *(_text("full_collection", nullable=True), sa.Column("labels", JSON, nullable=False)),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint(*OWNER, "collection", "key", name="pk_records"),
    )
    op.create_index("ix_records_time", "records", [*OWNER, "collection", "time", "key"])
    op.create_index("ix_records_scope_time", "records", [*OWNER, "time", "collection", "key"])
    _index_of_all_sessions("ix_records_all_key", "records", ["tenant", "collection", "key", "session_id"])
    _index_of_all_sessions(
        "ix_records_all_time", "records", ["tenant", "collection", "time", "key", "session_id"]
    )
    _index_of_all_sessions(
        "ix_records_all_scope_time", "records", ["tenant", "time", "collection", "key", "session_id"]
    )
    _partial_index("ix_records_expire_time", "records", ["expire_time"], "expire_time IS NOT NULL")


def _terms() -> None:
    op.create_table(
        "record_terms",
        *map(_text, OWNER),
        *(_text("path"), _text("term"), sa.Column("name_hash", sa.LargeBinary, nullable=False)),
        *(_text("collection"), _text("key")),
        sa.PrimaryKeyConstraint(*OWNER, "path", "term", "name_hash", name="pk_record_terms"),
    )
    _index_of_all_sessions(
        "ix_record_terms_all", "record_terms", ["tenant", "path", "term", "session_id", "name_hash"]
    )


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _index_of_all_sessions(name: str, table: str, columns: list[str]) -> None:
    _partial_index(name, table, columns, "session_id <> ''")


def _partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
