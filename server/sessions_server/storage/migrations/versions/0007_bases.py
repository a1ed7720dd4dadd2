"""Several bases per session, so that reading a past state replays a bounded part of the log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _set_key("tenant", "session_id", "sequence")


def downgrade() -> None:
    op.execute(
        "DELETE FROM bases WHERE EXISTS (SELECT 1 FROM bases AS older WHERE older.tenant = bases.tenant "
        "AND older.session_id = bases.session_id AND older.sequence < bases.sequence)"
    )
    _set_key("tenant", "session_id")


def _set_key(*key: str) -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint("pk_bases", "bases")
        op.create_primary_key("pk_bases", "bases", list(key))
        return
    # SQLite cannot change a primary key: https://sqlite.org/lang_altertable.html#otheralter
    op.create_table(
        "new_bases",
        *(sa.Column(name, TEXT, nullable=False) for name in ("tenant", "session_id")),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("session", sa.LargeBinary, nullable=False),
        *(sa.Column(name, sa.BigInteger) for name in ("revision", "update_time")),
        sa.Column("data", sa.LargeBinary),
        sa.PrimaryKeyConstraint(*key, name="pk_bases"),
    )
    op.execute("INSERT INTO new_bases SELECT * FROM bases")
    op.drop_table("bases")
    op.rename_table("new_bases", "bases")
