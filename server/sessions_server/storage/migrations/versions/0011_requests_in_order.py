"""SQLite needs no index of request ids by time, since it puts new rows at the end of a table: the oldest come first."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if _is_sqlite():
        op.drop_index("ix_requests_time", "requests", if_exists=True)


def downgrade() -> None:
    if _is_sqlite():
        op.create_index("ix_requests_time", "requests", ["time"])


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
