"""The tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON = sa.Text().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    _sessions()
    _content()
    _requests()
    _searched()


def downgrade() -> None:
    for table in ("metadata_terms", "tombstones", "requests", "log", "contexts", "sessions"):
        op.drop_table(table)


def _key() -> list[sa.Column[str]]:
    return [_text("tenant"), _text("session_id")]


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _flag(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.SmallInteger, nullable=False)


def _bytes(name: str, *, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=nullable)


def _partial_index(name: str, table: str, columns: list[str], *, present: str, unique: bool = False) -> None:
    where = sa.text(f"{present} IS NOT NULL")
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _sessions() -> None:
    op.create_table(
        "sessions",
        *_key(),
        *(_text("user_id"), _text("state")),
        _number("timeout", nullable=True),
        *(_number("max_messages"), _number("context_window"), _text("overflow")),
        *(_text("persistence"), _flag("encryption"), _number("ttl", nullable=True), _text("expiry_action")),
        *(
            _number(name)
            for name in ("message_count", "last_sequence", "revision", "history_start", "log_start")
        ),
        *(_number(name) for name in ("create_time", "update_time", "active_time")),
        *(_number(name, nullable=True) for name in ("start_time", "end_time", "archive_time")),
        _text("expiry_reason", nullable=True),
        *(_number("due_time", nullable=True), _text("due_state", nullable=True)),
        *(_number("last_due_time", nullable=True), _text("last_due_state", nullable=True)),
        _number("compact_time", nullable=True),
        _bytes("data_key", nullable=True),
        sa.Column("metadata", JSON, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "session_id", name="pk_sessions"),
    )
    for time in ("create_time", "update_time"):
        op.create_index(f"ix_sessions_{time}", "sessions", ["tenant", "state", time, "session_id"])
        op.create_index(
            f"ix_sessions_user_{time}", "sessions", ["tenant", "user_id", "state", time, "session_id"]
        )
    _partial_index("ix_sessions_due_time", "sessions", ["due_time"], present="due_time")
    _partial_index("ix_sessions_compact_time", "sessions", ["compact_time"], present="compact_time")
    _partial_index("ix_sessions_encrypted", "sessions", ["tenant", "session_id"], present="data_key")


def _content() -> None:
    op.create_table(
        "contexts",
        *_key(),
        *(_number("revision"), _number("update_time"), _bytes("data")),
        sa.PrimaryKeyConstraint("tenant", "session_id", name="pk_contexts"),
    )
    op.create_table(
        "log",
        *_key(),
        *(_number("sequence"), _text("type"), _text("message_id", nullable=True), _text("request_id")),
        *(_number("time"), _bytes("payload", nullable=True)),
        sa.PrimaryKeyConstraint("tenant", "session_id", "sequence", name="pk_log"),
    )
    columns = ["tenant", "session_id", "message_id"]
    _partial_index("uq_log_message_id", "log", columns, present="message_id", unique=True)


def _requests() -> None:
    op.create_table(
        "requests",
        *_key(),
        *(
            _text("request_id"),
            _text("method"),
            _bytes("payload_hash"),
            _flag("sealed"),
            _number("time"),
            _bytes("answer"),
        ),
        sa.PrimaryKeyConstraint("tenant", "session_id", "request_id", name="pk_requests"),
    )
    op.create_index("ix_requests_time", "requests", ["time"])


def _searched() -> None:
    op.create_table(
        "tombstones",
        *_key(),
        *(_number("last_sequence"), _number("delete_time")),
        sa.PrimaryKeyConstraint("tenant", "session_id", name="pk_tombstones"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metadata_terms",
        *_key(),
        *(_text("path"), _text("term"), _number("create_time")),
        sa.PrimaryKeyConstraint("tenant", "session_id", "path", "term", name="pk_metadata_terms"),
        sqlite_with_rowid=False,
    )
    columns = ["tenant", "path", "term", "create_time", "session_id"]
    op.create_index("ix_metadata_terms_search", "metadata_terms", columns)
