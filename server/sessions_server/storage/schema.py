"""The tables. Every unique key has tenant and session in it, so a sharding database can distribute them alike. They
come first, but for the ids of messages and requests: those grow with time, so that the sessions of a commit write to
the same end of an index, where each would otherwise write a page of its own.

This module says what the migrations lead to; a test compares the two. Instants and spans are microseconds in BIGINT.
Texts are ordered by code point on both databases, which is also how Python orders them.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

SESSIONS_PK: Final = "pk_sessions"
CONTEXTS_PK: Final = "pk_contexts"
LOG_PK: Final = "pk_log"
MESSAGE_ID_UNIQUE: Final = "uq_log_message_id"
REQUESTS_PK: Final = "pk_requests"
TOMBSTONES_PK: Final = "pk_tombstones"
BASES_PK: Final = "pk_bases"
WRITES_PK: Final = "pk_writes"
TERMS_PK: Final = "pk_metadata_terms"
RECORDS_PK: Final = "pk_records"
RECORD_TERMS_PK: Final = "pk_record_terms"
SHARED_KEYS_PK: Final = "pk_shared_keys"
DRAFT_PACKETS_PK: Final = "pk_draft_packets"
ERASURES_PK: Final = "pk_erasures"

TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON: Final = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
MICROS: Final = sa.BigInteger()

_READ_JSON: Final = sa.Text().with_variant(sa.LargeBinary(), "sqlite")


def json_text(column: sa.Column[Any]) -> sa.Label[Any]:
    """A JSON column as its text: on PostgreSQL the driver's own reading of jsonb differs between versions. On SQLite as
    bytes, since a string that is not UTF-8 would fail the whole statement."""
    return sa.cast(column, _READ_JSON).label(column.name)


ERASED: Final = "erased"
"""Stands where a state to come stands, for a session that is to be erased."""

metadata = sa.MetaData()


def _key_columns() -> tuple[sa.Column[str], sa.Column[str]]:
    return sa.Column("tenant", TEXT, nullable=False), sa.Column("session_id", TEXT, nullable=False)


sessions = sa.Table(
    "sessions",
    metadata,
    *_key_columns(),
    sa.Column("user_id", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("timeout", MICROS),
    sa.Column("max_messages", sa.BigInteger, nullable=False),
    sa.Column("context_window", sa.BigInteger, nullable=False),
    sa.Column("overflow", TEXT, nullable=False),
    sa.Column("persistence", TEXT, nullable=False),
    sa.Column("encryption", sa.SmallInteger, nullable=False),
    sa.Column("ttl", MICROS),
    sa.Column("expiry_action", TEXT, nullable=False),
    sa.Column("message_count", sa.BigInteger, nullable=False),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("history_start", sa.BigInteger, nullable=False),
    sa.Column("log_start", sa.BigInteger, nullable=False),
    sa.Column("create_time", MICROS, nullable=False),
    sa.Column("update_time", MICROS, nullable=False),
    sa.Column("active_time", MICROS, nullable=False),
    sa.Column("start_time", MICROS),
    sa.Column("end_time", MICROS),
    sa.Column("archive_time", MICROS),
    sa.Column("expiry_reason", TEXT),
    # The newest message of the history; 0 when it is empty.
    sa.Column("history_head", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("log_id", TEXT, nullable=False, server_default=""),
    sa.Column("forked_session_id", TEXT),
    sa.Column("forked_sequence", sa.BigInteger),
    # What the clock will do to the session, derived from it: the next thing, and the one after that if there is one.
    sa.Column("due_time", MICROS),
    sa.Column("due_state", TEXT),
    sa.Column("last_due_time", MICROS),
    sa.Column("last_due_state", TEXT),
    # When to look whether the log's first events can go; none while there are none.
    sa.Column("compact_time", MICROS),
    # The first position as of which the session can be read; none while that is only its head.
    sa.Column("replay_start", sa.BigInteger),
    # Grows with every transaction that writes the session; across sessions it follows the order of commits as far as
    # that is known, so that a reader may stop where older transactions still run.
    sa.Column("tx", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("data_key", sa.LargeBinary),
    sa.Column("metadata", JSON, nullable=False),
    # Where messages left the history that are still stored, as a JSON list of first and last positions: see spans.py.
    sa.Column("hidden", TEXT),
    # Records of the session that were written before this position are hidden: see hidden_records.py.
    sa.Column("records_start", sa.BigInteger, nullable=False, server_default="0"),
    sa.PrimaryKeyConstraint("tenant", "session_id", name=SESSIONS_PK),
)

# A page of a list is one range of these per state, whatever the other states hold.
sa.Index(
    "ix_sessions_create_time",
    *(sessions.c[name] for name in ("tenant", "state", "create_time", "session_id")),
)
sa.Index(
    "ix_sessions_update_time",
    *(sessions.c[name] for name in ("tenant", "state", "update_time", "session_id")),
)
sa.Index(
    "ix_sessions_user_create_time",
    *(sessions.c[name] for name in ("tenant", "user_id", "state", "create_time", "session_id")),
)
sa.Index(
    "ix_sessions_user_update_time",
    *(sessions.c[name] for name in ("tenant", "user_id", "state", "update_time", "session_id")),
)


def _partial_index(name: str, column: sa.Column[int], *more: sa.Column[str]) -> None:
    present = column.is_not(None)
    sa.Index(name, column, *more, sqlite_where=present, postgresql_where=present)


_partial_index("ix_sessions_due_time", sessions.c.due_time)
_partial_index("ix_sessions_compact_time", sessions.c.compact_time)
sa.Index(
    "ix_sessions_encrypted",
    sessions.c.tenant,
    sessions.c.session_id,
    sqlite_where=sessions.c.data_key.is_not(None),
    postgresql_where=sessions.c.data_key.is_not(None),
)

contexts = sa.Table(
    "contexts",
    metadata,
    *_key_columns(),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("update_time", MICROS, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "session_id", name=CONTEXTS_PK),
)

log = sa.Table(
    "log",
    metadata,
    *_key_columns(),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("type", TEXT, nullable=False),
    # Of the messages of the history only: one that left it has neither id nor content.
    sa.Column("message_id", TEXT),
    sa.Column("request_id", TEXT, nullable=False),
    sa.Column("time", MICROS, nullable=False),
    sa.Column("payload", sa.LargeBinary),
    # What the state after the event takes, beside what the event shows to everyone. Erased where values are forgotten.
    sa.Column("change", sa.LargeBinary),
    # Of a message that came with an import, when it was created; `time` is the server's own of every event.
    sa.Column("message_time", MICROS),
    sa.PrimaryKeyConstraint("tenant", "session_id", "sequence", name=LOG_PK),
)
message_ids = sa.Index(
    MESSAGE_ID_UNIQUE,
    log.c.message_id,
    log.c.tenant,
    log.c.session_id,
    unique=True,
    sqlite_where=log.c.message_id.is_not(None),
    postgresql_where=log.c.message_id.is_not(None),
)

# All but the messages of the history: what compaction may let go of.
sa.Index(
    "ix_log_outside_history",
    log.c.tenant,
    log.c.session_id,
    log.c.sequence,
    sqlite_where=log.c.message_id.is_(None),
    postgresql_where=log.c.message_id.is_(None),
)

# States that later ones are folded from: the first that is kept, and more along the log. See storage/bases.py.
bases = sa.Table(
    "bases",
    metadata,
    *_key_columns(),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("session", sa.LargeBinary, nullable=False),
    # Of the context, as in its own table; all three are there or none.
    sa.Column("revision", sa.BigInteger),
    sa.Column("update_time", MICROS),
    sa.Column("data", sa.LargeBinary),
    sa.PrimaryKeyConstraint("tenant", "session_id", "sequence", name=BASES_PK),
)

# Counts the transactions of a database that one process writes to: `sessions.tx` comes from it.
writes = sa.Table(
    "writes",
    metadata,
    sa.Column("id", sa.SmallInteger, nullable=False),
    sa.Column("tx", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("id", name=WRITES_PK),
)

requests = sa.Table(
    "requests",
    metadata,
    *_key_columns(),
    sa.Column("request_id", TEXT, nullable=False),
    sa.Column("method", TEXT, nullable=False),
    sa.Column("payload_hash", sa.LargeBinary, nullable=False),
    # How the answer is kept: see `Keeping` in content.py.
    sa.Column("sealed", sa.SmallInteger, nullable=False),
    sa.Column("time", MICROS, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("request_id", "tenant", "session_id", name=REQUESTS_PK),
)
sa.Index("ix_requests_time", requests.c.time)

# What is let go of when a session is erased: the answers that are kept in clear or sealed.
_answered: Final = requests.c.sealed < sa.literal_column("2")
sa.Index(
    "ix_requests_session",
    requests.c.tenant,
    requests.c.session_id,
    sqlite_where=_answered,
    postgresql_where=_answered,
)

tombstones = sa.Table(
    "tombstones",
    metadata,
    *_key_columns(),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
    sa.Column("delete_time", MICROS, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "session_id", name=TOMBSTONES_PK),
    sqlite_with_rowid=False,
)

# What callers have erased, can no longer read, and is still stored: see erasure.py.
erasures = sa.Table(
    "erasures",
    metadata,
    *_key_columns(),
    sa.Column("what", TEXT, nullable=False),
    # The last position of the log that it is about.
    sa.Column("through", sa.BigInteger, nullable=False),
    # Where in the log to continue.
    sa.Column("position", sa.BigInteger, nullable=False),
    # Of an import, until when to leave its rows alone: see staging.py.
    sa.Column("lease", MICROS),
    # Of hidden records, after which one to continue: its collection and key, as a JSON list.
    sa.Column("after", TEXT),
    sa.PrimaryKeyConstraint("tenant", "session_id", "what", name=ERASURES_PK),
)

metadata_terms = sa.Table(
    "metadata_terms",
    metadata,
    *_key_columns(),
    sa.Column("path", TEXT, nullable=False),
    sa.Column("term", TEXT, nullable=False),
    sa.Column("create_time", MICROS, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "session_id", "path", "term", name=TERMS_PK),
    sqlite_with_rowid=False,
)
sa.Index(
    "ix_metadata_terms_search",
    *(metadata_terms.c[name] for name in ("tenant", "path", "term", "create_time", "session_id")),
)


def _owner_columns() -> tuple[sa.Column[str], ...]:
    """A record's scope: a session, or a user, or with neither the tenant. What is not there is an empty string."""
    return *_key_columns(), sa.Column("user_id", TEXT, nullable=False)


records = sa.Table(
    "records",
    metadata,
    *_owner_columns(),
    # Collections are encoded and long ones cut, so that an index can hold them: see storage/record_names.py.
    sa.Column("collection", TEXT, nullable=False),
    sa.Column("key", TEXT, nullable=False),
    sa.Column("time", MICROS, nullable=False),
    sa.Column("expire_time", MICROS),
    sa.Column("ttl", MICROS),
    sa.Column("create_time", MICROS, nullable=False),
    sa.Column("update_time", MICROS, nullable=False),
    sa.Column("etag", TEXT, nullable=False),
    sa.Column("value_type", TEXT, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sealed", sa.SmallInteger, nullable=False),
    # The whole encoded collection, where `collection` is cut.
    sa.Column("full_collection", TEXT),
    sa.Column("labels", JSON, nullable=False),
    # After the others, so that SQLite reads these without it.
    sa.Column("value", sa.LargeBinary, nullable=False),
    # Of a session's record, the head of its log when it was written. Read only where records may be hidden.
    sa.Column("position", sa.BigInteger, nullable=False, server_default="0"),
    sa.PrimaryKeyConstraint("tenant", "session_id", "user_id", "collection", "key", name=RECORDS_PK),
)

# A page of a list is one range of these: of one collection, or of a scope with all its collections.
_OWNER: Final = (records.c.tenant, records.c.session_id, records.c.user_id)
sa.Index("ix_records_time", *_OWNER, records.c.collection, records.c.time, records.c.key)
sa.Index("ix_records_scope_time", *_OWNER, records.c.time, records.c.collection, records.c.key)


def _index_of_all_sessions(name: str, *columns: sa.Column[Any]) -> None:
    of_session = columns[0].table.c.session_id != sa.literal_column("''")
    sa.Index(name, *columns, sqlite_where=of_session, postgresql_where=of_session)


# The same of the records of all sessions together.
_index_of_all_sessions(
    "ix_records_all_key", *(records.c[name] for name in ("tenant", "collection", "key", "session_id"))
)
_index_of_all_sessions(
    "ix_records_all_time",
    *(records.c[name] for name in ("tenant", "collection", "time", "key", "session_id")),
)
_index_of_all_sessions(
    "ix_records_all_scope_time",
    *(records.c[name] for name in ("tenant", "time", "collection", "key", "session_id")),
)
_partial_index("ix_records_expire_time", records.c.expire_time)

# With rowids: without, SQLite 3.40 looks through a tenant's whole primary key where the index below is meant.
record_terms = sa.Table(
    "record_terms",
    metadata,
    *_owner_columns(),
    sa.Column("path", TEXT, nullable=False),
    sa.Column("term", TEXT, nullable=False),
    # Tells the records of a scope apart: names are too long for one more index entry.
    sa.Column("name_hash", sa.LargeBinary, nullable=False),
    sa.Column("collection", TEXT, nullable=False),
    sa.Column("key", TEXT, nullable=False),
    sa.PrimaryKeyConstraint(
        "tenant", "session_id", "user_id", "path", "term", "name_hash", name=RECORD_TERMS_PK
    ),
)
_index_of_all_sessions(
    "ix_record_terms_all",
    *(record_terms.c[name] for name in ("tenant", "path", "term", "session_id", "name_hash")),
)

# The wrapped data keys under which shared records are sealed: one for each user, and with an empty user the tenant's.
shared_keys = sa.Table(
    "shared_keys",
    metadata,
    sa.Column("tenant", TEXT, nullable=False),
    sa.Column("user_id", TEXT, nullable=False),
    sa.Column("data_key", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "user_id", name=SHARED_KEYS_PK),
)

# What replicas tell each other about drafts, for some seconds. UNLOGGED on PostgreSQL; unused on SQLite.
draft_packets = sa.Table(
    "draft_packets",
    metadata,
    *_key_columns(),
    # The replica that sent it, and its own count of packets.
    sa.Column("sender", TEXT, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("time", MICROS, nullable=False),
    sa.Column("packet", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "session_id", "sender", "number", name=DRAFT_PACKETS_PK),
)
