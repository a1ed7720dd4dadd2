"""Writes the rows of the sessions that a batch of commits changes, and the index of their metadata."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import sqlalchemy as sa

from sessions_server.storage import rows
from sessions_server.storage.conditions import stored_json
from sessions_server.storage.schema import metadata_terms, sessions
from sessions_server.storage.statements import Prepared, Writes
from sessions_server.storage.terms import terms

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import Session, SessionKey
    from sessions_server.storage.recent_sessions import RecentSessions, StoredSession

Values: TypeAlias = list[tuple[Any, ...]]


def of_session(table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
    """The condition on the key, whose parameters come last in a row of values."""
    return (
        table.c.tenant == sa.bindparam("key_tenant"),
        table.c.session_id == sa.bindparam("key_session_id"),
    )


def _update_sessions(columns: Iterable[str]) -> Prepared:
    values = [
        (sessions.c[name], sa.bindparam(f"new_{name}", type_=sessions.c[name].type)) for name in columns
    ]
    return Prepared(sessions.update().ordered_values(*values).where(*of_session(sessions)))


_NEW_SESSION_COLUMNS: Final = (
    *rows.FIXED_COLUMNS,
    *rows.SETTINGS_COLUMNS,
    *rows.STAGE_COLUMNS,
    *rows.COUNTER_COLUMNS,
)
_ADD_SESSIONS: Final = Prepared(sessions.insert())
_in_table_order: Final = itemgetter(*(_NEW_SESSION_COLUMNS.index(column.name) for column in sessions.c))
_UPDATE_COUNTERS: Final = _update_sessions(rows.COUNTER_COLUMNS)
_UPDATE_STAGES: Final = _update_sessions(rows.STAGE_COLUMNS)
_UPDATE_SETTINGS: Final = _update_sessions(rows.SETTINGS_COLUMNS)

_ADD_TERMS: Final = Prepared(metadata_terms.insert())
_DROP_TERMS: Final = Prepared(
    metadata_terms.delete().where(
        *of_session(metadata_terms),
        metadata_terms.c.path == sa.bindparam("path_"),
        metadata_terms.c.term == sa.bindparam("term_"),
    )
)


class SessionRows:
    def __init__(self, recent: RecentSessions | None) -> None:
        self._recent = recent
        self._added: Values = []
        self._counters: Values = []
        self._stages: Values = []
        self._settings: Values = []
        self._new_terms: Values = []
        self._old_terms: Values = []

    def drop(self, key: SessionKey) -> None:
        """The session was erased."""
        if self._recent is not None:
            self._recent.drop(key)

    def add(self, new: StoredSession) -> None:
        session, upkeep = new
        settings = self._settings_of(new)
        stage, counters = rows.stage_values(session, upkeep), rows.counter_values(session, upkeep.tx)
        self._added.append(_in_table_order((*rows.fixed_values(session), *settings, *stage, *counters)))
        self._new_terms += [(*session.key, *term, session.create_time) for term in terms(session.metadata)]

    def change(self, now: StoredSession, before: StoredSession) -> None:
        session, upkeep = now
        self._counters.append((*rows.counter_values(session, upkeep.tx), *session.key))
        stage = rows.stage_values(session, upkeep)
        if stage != rows.stage_values(*before):
            self._stages.append((*stage, *session.key))
        if _same_settings(session, before.session):
            if self._recent is not None:
                self._recent.update(now)
            return
        self._settings.append((*self._settings_of(now), *session.key))
        is_now, was = terms(session.metadata), terms(before.session.metadata)
        self._new_terms += [(*session.key, *term, session.create_time) for term in is_now - was]
        self._old_terms += [(*session.key, *term) for term in was - is_now]

    def write(self, connection: Connection, writes: Writes) -> None:
        """Writes them, except for the counters, which are added to `writes`."""
        _ADD_SESSIONS.many(connection, self._added)
        writes.add(_UPDATE_COUNTERS, self._counters)
        _UPDATE_STAGES.many(connection, self._stages)
        _UPDATE_SETTINGS.many(connection, self._settings)
        _DROP_TERMS.many(connection, self._old_terms)
        _ADD_TERMS.many(connection, self._new_terms)

    def _settings_of(self, new: StoredSession) -> tuple[Any, ...]:
        metadata = stored_json(new.session.metadata)
        if self._recent is not None:
            self._recent.add(new, len(metadata))
        return rows.settings_values(new.session, metadata)


def _same_settings(session: Session, before: Session) -> bool:
    """Whether these are the same objects; content writes carry them over."""
    return (
        session.metadata is before.metadata
        and session.config is before.config
        and session.storage is before.storage
    )
