"""Imports the sessions and states of ADK's own stores: SQLite files, and databases of `DatabaseSessionService`."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from google.adk.sessions import _session_util
from google.adk.sessions.session import Session
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from sessions_client import AsyncClient
from sessions_client.integrations import _imports as imports
from sessions_client.integrations.google_adk import (
    dump,
    new_session,
    put_head,
    put_states,
    readable,
    session_key,
)

if TYPE_CHECKING:
    from google.adk.sessions.base_session_service import BaseSessionService

_SQLITE: Final = re.compile(r"sqlite(\+\w+)?:///")
_PASSWORD: Final = re.compile(r"(?<=:)[^:/@]+(?=@)")
_MARKS: Final = ("events", "adk_internal_metadata")
_OF_SQLALCHEMY: Final = {"actions", "key"}
"""Columns that only the tables of `DatabaseSessionService` have: in its first schema, and in later ones."""
_NOTHING: Final[Mapping[str, Mapping[str, Any]]] = {"session": {}, "user": {}, "app": {}}


Rows = Callable[[str], Awaitable[list[Any]]]
"""Runs a query on the source's tables."""


def main() -> None:
    """Runs `python -m sessions_client.integrations.google_adk import URL`."""
    imports.run("google_adk", "url", import_database)


async def import_database(client: AsyncClient, source: str) -> imports.Outcomes:
    """Imports all sessions of a database, and the states of its users and apps."""
    async with _opened(source) as (service, rows):
        try:
            apps = [app for (app,) in await rows("SELECT DISTINCT app_name FROM sessions ORDER BY app_name")]
            of_users = await rows("SELECT app_name, user_id, state FROM user_states")
            of_apps = await rows("SELECT app_name, state FROM app_states")
        except Exception as error:  # each database driver has its own errors
            raise _unreadable(source, error) from error
        for app in apps:
            for listed in (await service.list_sessions(app_name=app)).sessions:
                session = await service.get_session(
                    app_name=app, user_id=listed.user_id, session_id=listed.id
                )
                if session is not None:
                    yield f"{app}/{listed.user_id}/{listed.id}", await _import_session(client, session)
    for app, user, state in of_users:
        await _import_state(client, app, user, {"user": _loaded(state)})
    for app, state in of_apps:
        await _import_state(client, app, "", {"app": _loaded(state)})


async def _import_session(client: AsyncClient, session: Session) -> imports.Outcome:
    """Imports events first, then the state, and last the record by which the adapter finds the session."""
    key = session_key(session.app_name, session.user_id, session.id)
    create = new_session(session.app_name, session.user_id, session.id, if_exists="return")
    outcome = await imports.import_history(client, key, create, session.events, dump, readable)
    if outcome is not imports.Outcome.DIFFERENT:
        deltas = _session_util.extract_json_safe_state_delta(session.state)
        puts = put_states(key, session, {**_NOTHING, "session": deltas["session"]}, if_absent=True)
        last = put_head(key, session, session.last_update_time, if_absent=True)
        await client.sessions.commit(key, *puts, last)
    return outcome


async def _import_state(
    client: AsyncClient, app: str, user: str, states: Mapping[str, Mapping[str, Any]]
) -> None:
    """Imports the state that sessions of a user or app share; keys that already have a value here keep it."""
    owner = Session(app_name=app, user_id=user, id="")
    puts = put_states("", owner, {**_NOTHING, **states}, if_absent=True)
    if puts:
        await client.sessions.commit(None, *puts)


def _loaded(state: Any) -> dict[str, Any]:
    return json.loads(state) if isinstance(state, str | bytes) else state


@contextlib.asynccontextmanager
async def _opened(source: str) -> AsyncIterator[tuple[BaseSessionService, Rows]]:
    """ADK's own service for the database, with its tables. A bare path is a SQLite file."""
    if "://" not in source or _SQLITE.match(source):
        path = imports.existing_file(_SQLITE.sub("", source, count=1))
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as file:
            try:
                columns = {row[1] for table in _MARKS for row in file.execute(f"PRAGMA table_info({table})")}
            except sqlite3.DatabaseError as error:
                raise _unreadable(source, error) from error

            async def rows(query: str) -> list[Any]:
                return file.execute(query).fetchall()

            if not columns & _OF_SQLALCHEMY:
                yield SqliteSessionService(str(path)), rows
                return
            async with _of_sqlalchemy(f"sqlite+aiosqlite:///{path.resolve()}") as service:
                yield service, rows
            return
    async with _of_sqlalchemy(source) as service:

        async def queried(query: str) -> list[Any]:
            async with service.db_engine.connect() as connection:
                return (await connection.exec_driver_sql(query)).fetchall()

        yield service, queried


@contextlib.asynccontextmanager
async def _of_sqlalchemy(url: str) -> AsyncIterator[Any]:
    try:
        from google.adk.sessions.database_session_service import DatabaseSessionService
    except ImportError as error:
        raise imports.UnusableSource(
            "This database was written through SQLAlchemy; to read it, install 'google-adk[db]'."
        ) from error
    try:
        service = DatabaseSessionService(url)
    except Exception as error:
        raise _refused(f"ADK cannot open {url!r}", error) from error
    async with service:
        yield service


def _unreadable(source: str, error: Exception) -> imports.UnusableSource:
    return _refused(f"{source!r} has no sessions of ADK that can be read", error)


def _refused(what: str, error: Exception) -> imports.UnusableSource:
    """Without the password of a URL, since logs must not contain it."""
    return imports.UnusableSource(_PASSWORD.sub("***", f"{what}: {imports.reason(error)}."))
