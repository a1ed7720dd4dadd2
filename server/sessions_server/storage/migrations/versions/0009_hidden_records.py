"""Records that an import has replaced and hidden: their positions in the log, from which one they are shown, and where
their erasure continues."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("sessions", _position("records_start"))
    op.add_column("records", _position("position"))
    op.add_column("erasures", sa.Column("after", TEXT))


def _position(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def downgrade() -> None:
    op.drop_column("erasures", "after")
    op.drop_column("records", "position")
    op.drop_column("sessions", "records_start")
