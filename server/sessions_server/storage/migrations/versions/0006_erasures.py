"""Hidden rows that are to be erased: the hidden messages of each session, and a list of pending work. Both are empty at
first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("hidden", TEXT))
    op.create_table(
        "erasures",
        *(sa.Column(name, TEXT, nullable=False) for name in ("tenant", "session_id", "what")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("through", "position")),
        sa.PrimaryKeyConstraint("tenant", "session_id", "what", name="pk_erasures"),
    )


def downgrade() -> None:
    op.drop_table("erasures")
    op.drop_column("sessions", "hidden")
