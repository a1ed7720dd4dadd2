"""The ids of messages and requests become the first column of their keys.

Ids that grow with time then go to one end of an index, whichever sessions they belong to. What is removed when a
session is erased is found by a separate index, which does not include receipts of added messages.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from sessions_server.storage.errors import StoreRefused

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
KEY = ("request_id", "tenant", "session_id")


def upgrade() -> None:
    op.drop_index("uq_log_message_id", "log")
    _partial_index(
        "uq_log_message_id",
        "log",
        ["message_id", "tenant", "session_id"],
        "message_id IS NOT NULL",
        unique=True,
    )
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_requests()
    else:
        op.drop_constraint("pk_requests", "requests")
        op.create_primary_key("pk_requests", "requests", list(KEY))
    _partial_index("ix_requests_session", "requests", ["tenant", "session_id"], "sealed < 2")


def downgrade() -> None:
    raise StoreRefused(
        "The database was brought up to date by this release and cannot go back; restore the backup that was made "
        "before, or export the sessions and import them with the older release."
    )


def _rebuild_requests() -> None:
    """SQLite cannot change a primary key: https://sqlite.org/lang_altertable.html#otheralter"""
    types: dict[str, sa.types.TypeEngine[Any]] = {
        **dict.fromkeys(("tenant", "session_id", "request_id", "method"), TEXT),
        "payload_hash": sa.LargeBinary(),
        "sealed": sa.SmallInteger(),
        "time": sa.BigInteger(),
        "answer": sa.LargeBinary(),
    }
    op.create_table(
        "new_requests",
        *(sa.Column(name, type_, nullable=False) for name, type_ in types.items()),
        sa.PrimaryKeyConstraint(*KEY, name="pk_requests"),
    )
    names = ", ".join(types)
    op.execute(f"INSERT INTO new_requests ({names}) SELECT {names} FROM requests ORDER BY time")  # noqa: S608  # names of this file
    op.drop_table("requests")
    op.rename_table("new_requests", "requests")
    op.create_index("ix_requests_time", "requests", ["time"])


def _partial_index(name: str, table: str, columns: list[str], present: str, *, unique: bool = False) -> None:
    where = sa.text(present)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)
