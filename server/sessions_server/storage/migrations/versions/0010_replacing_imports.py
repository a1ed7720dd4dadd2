"""Imports in slices that replace a session: where they start in its log, and messages with the ids of those that they
will replace."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

KEY = ("message_id", "tenant", "session_id")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("import_start", sa.BigInteger))
    op.add_column("log", sa.Column("import_start", sa.BigInteger, nullable=False, server_default="0"))
    _make_unique(*KEY, "import_start")


def _make_unique(*columns: str) -> None:
    op.drop_index("uq_log_message_id", "log")
    where = sa.text("message_id IS NOT NULL")
    op.create_index(
        "uq_log_message_id", "log", list(columns), unique=True, sqlite_where=where, postgresql_where=where
    )


def downgrade() -> None:
    _make_unique(*KEY)
    op.drop_column("log", "import_start")
    op.drop_column("sessions", "import_start")
