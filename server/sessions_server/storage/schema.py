"""The tables. Every unique key includes tenant and session, so that a sharding database can distribute all tables the
same way. These columns come first, but the ids of messages and requests come before them: ids grow with time, so that
all sessions in a commit write to the same end of an index instead of a page each.

This module describes the result of the migrations; a test compares the two. Times and durations are microseconds in
BIGINT. Strings are ordered by code point on both databases, as in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

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


class _Json(sa.types.TypeDecorator[str]):
    """A JSON document as a string. On PostgreSQL JSONB, which is imported only there."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name != "postgresql":
            return dialect.type_descriptor(sa.Text())
        from sqlalchemy.dialects.postgresql import JSONB

        return dialect.type_descriptor(JSONB())


TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON: Final = _Json()
MICROS: Final = sa.BigInteger()

_READ_JSON: Final = sa.Text().with_variant(sa.LargeBinary(), "sqlite")


def json_text(column: sa.Column[Any]) -> sa.Label[Any]:
    """A JSON column as a string, because the driver's own decoding of jsonb differs between versions. On SQLite as
    bytes, since a string that is not UTF-8 would fail the whole statement."""
    return sa.cast(column, _READ_JSON).label(column.name)


ERASED: Final = "erased"
"""Stands in for the next state of a session that is to be erased."""

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
    # The newest message of the history; 0 if it is empty.
    sa.Column("history_head", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("log_id", TEXT, nullable=False, server_default=""),
    sa.Column("forked_session_id", TEXT),
    sa.Column("forked_sequence", sa.BigInteger),
    # The session's timers, derived from its row: the next event, and the one after it if there is one.
    sa.Column("due_time", MICROS),
    sa.Column("due_state", TEXT),
    sa.Column("last_due_time", MICROS),
    sa.Column("last_due_state", TEXT),
    # When to check whether the log's first events can be removed; NULL if there are none.
    sa.Column("compact_time", MICROS),
    # The first position whose state can be read; NULL if that is only the head.
    sa.Column("replay_start", sa.BigInteger),
    # Grows with every transaction that writes the session; across sessions it follows the order of commits as far as
    # known, so that a reader may stop where older transactions are still running.
    sa.Column("tx", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("data_key", sa.LargeBinary),
    sa.Column("metadata", JSON, nullable=False),
    # Where messages left the history but are still stored, as a JSON list of first and last positions: see spans.py.
    sa.Column("hidden", TEXT),
    # The session's records have this value too; stored records with another one are hidden: see record_owners.py.
    sa.Column("records_start", sa.BigInteger, nullable=False, server_default="0"),
    # The first position of an import under way that will replace the session: see staging.py.
    sa.Column("import_start", sa.BigInteger),
    sa.PrimaryKeyConstraint("tenant", "session_id", name=SESSIONS_PK),
)

# A page of a list is one range of these per state, whatever the other states contain.
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
    sa.Index(name, column, *more, sqlite_where=present)


_partial_index("ix_sessions_due_time", sessions.c.due_time)
_partial_index("ix_sessions_compact_time", sessions.c.compact_time)
sa.Index(
    "ix_sessions_encrypted",
    sessions.c.tenant,
    sessions.c.session_id,
    sqlite_where=sessions.c.data_key.is_not(None),
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
    # Only for messages of the history: one that left it has neither id nor content.
    sa.Column("message_id", TEXT),
    sa.Column("request_id", TEXT, nullable=False),
    sa.Column("time", MICROS, nullable=False),
    sa.Column("payload", sa.LargeBinary),
    # What the state after the event needs, besides the visible part of the event. Erased when values are forgotten.
    sa.Column("change", sa.LargeBinary),
    # For imported messages, when they were created; `time` is always the server's time of the event.
    sa.Column("message_time", MICROS),
    # For rows of an import in slices, the import's first position; otherwise 0. It lets an import store messages with
    # the ids of those that it will replace. All other writes check ids before they store a message.
    sa.Column("import_start", sa.BigInteger, nullable=False, server_default="0"),
    sa.PrimaryKeyConstraint("tenant", "session_id", "sequence", name=LOG_PK),
)
message_ids = sa.Index(
    MESSAGE_ID_UNIQUE,
    log.c.message_id,
    log.c.tenant,
    log.c.session_id,
    log.c.import_start,
    unique=True,
    sqlite_where=log.c.message_id.is_not(None),
)

# All except messages of the history: the events that compaction may remove.
sa.Index(
    "ix_log_outside_history",
    log.c.tenant,
    log.c.session_id,
    log.c.sequence,
    sqlite_where=log.c.message_id.is_(None),
)

# States from which later ones are computed: the first that is kept, and more along the log. See storage/bases.py.
bases = sa.Table(
    "bases",
    metadata,
    *_key_columns(),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("session", sa.LargeBinary, nullable=False),
    # Of the context, as in its own table; all three are set or none.
    sa.Column("revision", sa.BigInteger),
    sa.Column("update_time", MICROS),
    sa.Column("data", sa.LargeBinary),
    sa.PrimaryKeyConstraint("tenant", "session_id", "sequence", name=BASES_PK),
)

# The number of the last transaction of a database with a single writing process, the source of `sessions.tx`, unless
# a session has a higher one: see sqlite/epochs.py.
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
    # How the response is stored: see `Keeping` in content.py.
    sa.Column("sealed", sa.SmallInteger, nullable=False),
    sa.Column("time", MICROS, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("request_id", "tenant", "session_id", name=REQUESTS_PK),
)
# Not on SQLite, which finds the oldest by their place in the table: see `WriteOrder` in statements.py.
sa.Index("ix_requests_time", requests.c.time).ddl_if(dialect="postgresql")

# What is removed when a session is erased: the responses stored unencrypted or encrypted.
_answered: Final = requests.c.sealed < sa.literal_column("2")
sa.Index(
    "ix_requests_session",
    requests.c.tenant,
    requests.c.session_id,
    sqlite_where=_answered,
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

# Data that callers have erased and cannot read, but that is still stored: see erasure.py.
erasures = sa.Table(
    "erasures",
    metadata,
    *_key_columns(),
    sa.Column("what", TEXT, nullable=False),
    # The last affected position of the log.
    sa.Column("through", sa.BigInteger, nullable=False),
    # The position in the log to continue from.
    sa.Column("position", sa.BigInteger, nullable=False),
    # For an import, until when to leave its rows alone: see staging.py.
    sa.Column("lease", MICROS),
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


def _owner_columns() -> tuple[sa.Column[Any], ...]:
    """A record's scope: a session, a user or, with neither, the tenant. Absent ids are empty strings. Then what tells
    the records of an import from those that it replaces: see record_owners.py."""
    start = sa.Column("records_start", sa.BigInteger, nullable=False)
    return *_key_columns(), sa.Column("user_id", TEXT, nullable=False), start


records = sa.Table(
    "records",
    metadata,
    *_owner_columns(),
    # Collections are encoded, and long ones cut, so that an index can contain them: see storage/record_names.py.
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
    # The whole encoded collection, if `collection` is cut.
    sa.Column("full_collection", TEXT),
    sa.Column("labels", JSON, nullable=False),
    # Comes after these, so that SQLite can read them without it.
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint(
        "tenant", "session_id", "user_id", "records_start", "collection", "key", name=RECORDS_PK
    ),
)

# A page of a list is one range of these: of one collection, or of a scope with all its collections.
_OWNER: Final = (records.c.tenant, records.c.session_id, records.c.user_id, records.c.records_start)
sa.Index("ix_records_time", *_OWNER, records.c.collection, records.c.time, records.c.key)
sa.Index("ix_records_scope_time", *_OWNER, records.c.time, records.c.collection, records.c.key)


def _index_of_all_sessions(name: str, *columns: sa.Column[Any]) -> None:
    of_session = columns[0].table.c.session_id != sa.literal_column("''")
    sa.Index(name, *columns, sqlite_where=of_session)


# The same for the records of all sessions together.
_IN_SESSION: Final = (records.c.session_id, records.c.records_start)
_index_of_all_sessions(
    "ix_records_all_key", records.c.tenant, records.c.collection, records.c.key, *_IN_SESSION
)
_index_of_all_sessions(
    "ix_records_all_time",
    *(records.c.tenant, records.c.collection, records.c.time, records.c.key, *_IN_SESSION),
)
_index_of_all_sessions(
    "ix_records_all_scope_time",
    *(records.c.tenant, records.c.time, records.c.collection, records.c.key, *_IN_SESSION),
)
_partial_index("ix_records_expire_time", records.c.expire_time)

# With rowids: without them, SQLite 3.40 scans a tenant's whole primary key instead of using the index below.
record_terms = sa.Table(
    "record_terms",
    metadata,
    *_owner_columns(),
    sa.Column("path", TEXT, nullable=False),
    sa.Column("term", TEXT, nullable=False),
    # Distinguishes the records of a scope: names are too long for another index entry.
    sa.Column("name_hash", sa.LargeBinary, nullable=False),
    sa.Column("collection", TEXT, nullable=False),
    sa.Column("key", TEXT, nullable=False),
    sa.PrimaryKeyConstraint(
        *("tenant", "session_id", "user_id", "records_start", "path", "term", "name_hash"),
        name=RECORD_TERMS_PK,
    ),
)
_index_of_all_sessions(
    "ix_record_terms_all",
    *(record_terms.c[name] for name in ("tenant", "path", "term", "session_id", "name_hash")),
)

# The wrapped data keys of shared records: one per user and, with an empty user, the tenant's.
shared_keys = sa.Table(
    "shared_keys",
    metadata,
    sa.Column("tenant", TEXT, nullable=False),
    sa.Column("user_id", TEXT, nullable=False),
    sa.Column("data_key", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "user_id", name=SHARED_KEYS_PK),
)

# Packets between replicas about drafts, kept for a few seconds. UNLOGGED on PostgreSQL; unused on SQLite.
draft_packets = sa.Table(
    "draft_packets",
    metadata,
    *_key_columns(),
    # The sending replica, and its own packet counter.
    sa.Column("sender", TEXT, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("time", MICROS, nullable=False),
    sa.Column("packet", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "session_id", "sender", "number", name=DRAFT_PACKETS_PK),
)
