"""Imports in slices: until when an erasure must leave the rows of an import alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("erasures", sa.Column("lease", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("erasures", "lease")
