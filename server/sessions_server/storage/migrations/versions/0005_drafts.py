"""Packets between replicas about drafts. They are kept for seconds, so PostgreSQL need not log them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "draft_packets",
        *(sa.Column(name, TEXT, nullable=False) for name in ("tenant", "session_id", "sender")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("number", "time")),
        sa.Column("packet", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "session_id", "sender", "number", name="pk_draft_packets"),
    )
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE draft_packets SET UNLOGGED")


def downgrade() -> None:
    op.drop_table("draft_packets")
