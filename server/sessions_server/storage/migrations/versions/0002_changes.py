"""The log stores what each event changed, so that the state at any kept position can be computed from it.

Nothing is read or written session by session: if the log lacks the changes, a session's next write stores the state
before it as the base of what follows. Stored responses that contain whole states are removed.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sessions_server.storage.errors import StoreRefused

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

STATELESS = ("AddMessage", "AddMessages", "ClearHistory", "DeleteSession")
"""The methods whose stored responses contain no state."""


def upgrade() -> None:
    _sessions()
    _log()
    _bases()
    _requests()


def downgrade() -> None:
    raise StoreRefused(
        "The database was brought up to date by this release and cannot go back; restore the backup that was made "
        "before, or export the sessions and import them with the older release."
    )


def _sessions() -> None:
    for column in (
        sa.Column("history_head", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("log_id", TEXT, nullable=False, server_default=""),
        sa.Column("forked_session_id", TEXT),
        sa.Column("forked_sequence", sa.BigInteger),
        sa.Column("replay_start", sa.BigInteger),
        sa.Column("tx", sa.BigInteger, nullable=False, server_default="0"),
    ):
        op.add_column("sessions", column)
    random = {
        "sqlite": "lower(hex(randomblob(16)))",
        "postgresql": "replace(gen_random_uuid()::text, '-', '')",
    }
    op.execute(
        f"""
        UPDATE sessions SET
            log_id = {random[op.get_bind().dialect.name]},
            compact_time = coalesce(compact_time, create_time),
            history_head = coalesce((
                SELECT max(log.sequence) FROM log
                WHERE log.tenant = sessions.tenant AND log.session_id = sessions.session_id
                AND log.message_id IS NOT NULL
            ), 0)
        """  # noqa: S608  # one of two constants
    )


def _log() -> None:
    op.add_column("log", sa.Column("change", sa.LargeBinary))
    op.add_column("log", sa.Column("message_time", sa.BigInteger))
    where = sa.text("message_id IS NULL")
    columns = ["tenant", "session_id", "sequence"]
    op.create_index("ix_log_outside_history", "log", columns, sqlite_where=where, postgresql_where=where)
    # The time of an imported message was its creation time, which may be in the future.
    now = {
        "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
        "postgresql": "CAST(extract(epoch FROM now()) * 1000000 AS BIGINT)",
    }[op.get_bind().dialect.name]
    op.execute(f"UPDATE log SET message_time = time, time = {now} WHERE time > {now}")  # noqa: S608  # one of two constants


def _bases() -> None:
    op.create_table(
        "bases",
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("session_id", TEXT, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("session", sa.LargeBinary, nullable=False),
        sa.Column("revision", sa.BigInteger),
        sa.Column("update_time", sa.BigInteger),
        sa.Column("data", sa.LargeBinary),
        sa.PrimaryKeyConstraint("tenant", "session_id", name="pk_bases"),
    )
    op.create_table(
        "writes",
        sa.Column("id", sa.SmallInteger, nullable=False),
        sa.Column("tx", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_writes"),
    )
    op.execute("INSERT INTO writes (id, tx) VALUES (1, 0)")


def _requests() -> None:
    methods = ", ".join(f"'{method}'" for method in STATELESS)
    empty = {"sqlite": "x''", "postgresql": "''::bytea"}[op.get_bind().dialect.name]
    op.execute(f"UPDATE requests SET answer = {empty}, sealed = 0 WHERE method NOT IN ({methods})")  # noqa: S608  # constants
