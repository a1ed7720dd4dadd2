"""Why a PostgreSQL database cannot be used, as a sentence for the operator: what is wrong, and where to look.

A sentence contains neither the address, which may have a password, nor the database's own message.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.domain.errors import Unavailable
from sessions_server.storage.backend import SETTING
from sessions_server.storage.errors import driver_error
from sessions_server.storage.postgres.errors import HostRefused, sqlstate_of
from sessions_server.storage.postgres.hosts import known_options

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_CONNECTING: Final = {
    "3D": "PostgreSQL has no database {database}; create it, or correct the name in {setting}.",
    "28": "PostgreSQL does not let the role {role} in; check its name and password in {setting}, and pg_hba.conf.",
    "42501": "The role {role} may not connect to the database {database}; grant it CONNECT, or name another role in "
    "{setting}.",
    "55000": "The database {database} takes no connections; allow them with ALTER DATABASE, or name another one in "
    "{setting}.",
    "53300": "PostgreSQL has no connection left; raise its max_connections, or lower SESSIONS_POOL_SIZE.",
    "57P": "PostgreSQL is starting or stopping; try again in a moment.",
}
_CONNECTION_LOST: Final = "08"
_NO_RIGHTS: Final = (
    "The role {role} may not read, make or change the tables in the database {database}; grant it what "
    "docs/postgresql.md says under Roles, or start once with the address of the owner in {setting}."
)
_POOLER: Final = (
    "A pooler in transaction mode is in front of PostgreSQL, and mixes up what this server prepares on its "
    "connections; set pool_mode = session, or give PostgreSQL's own address in {setting}."
)
_PREPARING: Final = {
    "42501": _NO_RIGHTS,
    "3F": _NO_RIGHTS,
    "42P07": "The database {database} has an object of another program with a name that this server needs; name "
    "another database in {setting}.",
    "26000": _POOLER,
    "42P05": _POOLER,
    "25006": "PostgreSQL at {place} takes no writes; name the primary in {setting}.",
}
"""By prefix of the SQLSTATE: for refused connections, and for errors before serving."""

_TLS_MODES: Final = (
    "disable, allow, prefer, require, verify-ca or verify-full, these two with PGSSLROOTCERT or sslrootcert"
)
_VALUES: Final = {
    "sslmode": _TLS_MODES,
    "ssl": _TLS_MODES,
    "target_session_attrs": "any, primary, standby, read-write, read-only or prefer-standby",
}


def explain(url: URL, error: Exception) -> str | None:
    """None for errors that say so themselves, or are unexpected."""
    if isinstance(error, (ValueError, sa.exc.ArgumentError)):
        return of_options(url)
    if not isinstance(error, Unavailable):
        return _by_state(url, _PREPARING, sqlstate_of(error))
    cause = error.__cause__
    if cause is None:
        return None
    if isinstance(cause, HostRefused):
        return str(cause).format(place=_place(url), setting=SETTING)
    state = sqlstate_of(cause)
    known = _by_state(url, _CONNECTING, state) or _by_state(url, _PREPARING, state)
    if known or not state or state.startswith(_CONNECTION_LOST):
        return known or _of_connecting(url, cause)
    return f"PostgreSQL at {_place(url)} refuses with SQLSTATE {state}; its log says why."


def _by_state(url: URL, sentences: dict[str, str], state: str) -> str | None:
    for beginning, sentence in sentences.items():
        if state.startswith(beginning):
            named = {"database": url.database, "role": url.username}
            given = {key: value or "(none is named)" for key, value in named.items()}
            return sentence.format(**given, place=_place(url), setting=SETTING)
    return None


def _of_connecting(url: URL, error: BaseException) -> str:
    raised = driver_error(error).__cause__ or error
    check = f"check its host and port in {SETTING}"
    if type(raised).__name__ == "TargetServerAttributeNotMatched":
        return f"No PostgreSQL at {_place(url)} is what target_session_attrs asks for; start one, or correct {SETTING}."
    if isinstance(raised, (ValueError, TypeError)) and not isinstance(raised, ssl.SSLError):
        return of_options(url)
    if isinstance(raised, sa.exc.TimeoutError):
        return "All SESSIONS_POOL_SIZE connections stay busy; raise it, or find out why PostgreSQL is slow."
    if isinstance(raised, socket.gaierror):
        return f"The host of PostgreSQL, {_place(url)}, is not known; {check}."
    if isinstance(raised, TimeoutError):
        return f"PostgreSQL at {_place(url)} does not respond; {check}, and everything in between."
    if isinstance(raised, ssl.SSLError):
        return f"PostgreSQL at {_place(url)} failed the TLS handshake; check ssl in {SETTING}, and PGSSLROOTCERT."
    if type(raised) is ConnectionError:  # asyncpg raises exactly this type
        asked = "sslmode" if "sslmode" in url.query else "ssl"
        return f"PostgreSQL at {_place(url)} offers no TLS; switch it on there, or leave {asked} out of {SETTING}."
    return f"PostgreSQL at {_place(url)} cannot be reached; start it, or {check}."


def of_options(url: URL) -> str:
    """For invalid options in a URL."""
    known = known_options()
    unknown = [name for name in url.query if name not in known]
    if unknown:
        return f"{SETTING} has an option that is not known: {', '.join(unknown)}; correct it or leave it out."
    values = "".join(f" {name} is {text}." for name, text in _VALUES.items() if name in url.query)
    return (
        f"An option in {SETTING} has a value that cannot be used: look at {' and '.join(url.query)}.{values}"
    )


def _place(url: URL) -> str:
    """Where PostgreSQL should be, according to the address."""
    hosts = url.query.get("host", ())
    hosts = (hosts,) if isinstance(hosts, str) else hosts
    if hosts:
        return " or ".join(hosts)
    return f"{url.host or 'localhost'}:{url.port or 5432}"
