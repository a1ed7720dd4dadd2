"""Moves all sessions and records of a database to a file, and from it into a database, also of the other kind.

Both ways can be cut off at any point and called again: an export goes on behind the last whole session in the file,
an import passes over what its database has already. A session comes in under its tenant and id, with its messages,
context, metadata and times, and its log goes on behind the position that it had; its older events are not moved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from sessions_server.domain.errors import (
    DataCorrupted,
    DomainError,
    InvalidState,
    SessionExists,
    SessionNotFound,
    SetupError,
)
from sessions_server.domain.transfer import ScopeHeader
from sessions_server.service.transfer import HistoryChanged

if TYPE_CHECKING:
    from pathlib import Path

    from sessions_server.domain.models import Session, SessionKey
    from sessions_server.domain.ports import ReadStore
    from sessions_server.domain.records import Scope
    from sessions_server.domain.transfer import Header
    from sessions_server.dump.file import DumpReader, DumpWriter
    from sessions_server.service.transfer import SessionStore, Transfers

KEYS_PER_STEP = 256

Progress = Callable[[int], None]
"""Told, now and then, how many sessions (export) or bytes of the file (import) are behind."""


MOST_TRIES = 16
"""How often the export of a session begins again because its history was shortened meanwhile."""


class Exported(NamedTuple):
    sessions: int
    """How many the file holds."""
    damaged: tuple[SessionKey, ...]
    """Those that are not in the file. Records of a user or a tenant are named by their scope's `cell_key`."""


class Imported(NamedTuple):
    added: int
    there: int
    """Sessions that had come with an earlier import from the file."""
    over: int
    """Sessions whose ttl has ended since they were exported, and whose data went with it."""


async def export_all(
    source: SessionStore, transfers: Transfers, writer: DumpWriter, *, progress: Progress
) -> Exported:
    """Appends what the file does not hold yet and finishes it. A session whose data is damaged is left out, and named
    in the file.

    Raises SetupError for a session whose key is missing, and for a file that was begun with another database.
    """
    reached = writer.reached
    for session in (reached.first, reached.last):
        if session is not None and not await _came_from(source, session):
            raise _of_another_database(writer.path, session.key)
    last, count, damaged = reached.last_key, reached.sessions, list(reached.damaged)
    while keys := await source.keys(last, KEYS_PER_STEP):
        for key in keys:
            try:
                count += await _export_one(transfers, key, writer)
            except DataCorrupted:
                writer.leave_out(key)
                damaged.append(key)
            progress(count)
        last = keys[-1]
        writer.sync()
    shared = await _export_shared(source, transfers, writer, damaged)
    writer.finish(count + shared)
    return Exported(count, tuple(dict.fromkeys(damaged)))


async def _export_shared(
    source: SessionStore, transfers: Transfers, writer: DumpWriter, damaged: list[SessionKey]
) -> int:
    """Appends the records of users and tenants; returns of how many of these the file has records."""
    count, last = writer.reached.scopes, writer.reached.last_scope
    while scopes := await source.shared_scopes(last, KEYS_PER_STEP):
        for scope in scopes:
            try:
                await writer.add(transfers.export_shared(scope))
            except DataCorrupted:
                writer.leave_out(scope.cell_key)
                damaged.append(scope.cell_key)
            except DomainError as error:
                raise _stopped_at_scope(scope, error) from error
            else:
                count += 1
        last = scopes[-1]
        writer.sync()
    return count


async def _came_from(source: ReadStore, session: Session) -> bool:
    """Whether an exported session is in this database, or was erased from it since, which leaves its log's end."""
    try:
        found = await source.session(session.key)
    except DataCorrupted:  # damaged since, so that nothing speaks against it
        return True
    except SessionNotFound:
        return (await source.heads([session.key])).get(session.key, 0) >= session.last_sequence
    return found.create_time == session.create_time


async def _export_one(transfers: Transfers, key: SessionKey, writer: DumpWriter) -> int:
    """How many sessions that added: none if it was erased meanwhile. Begins again when its history was shortened.
    Raises DataCorrupted."""
    for left in reversed(range(MOST_TRIES)):
        try:
            await writer.add(transfers.export(key))
            return 1
        except SessionNotFound:
            return 0
        except DataCorrupted:
            raise
        except DomainError as error:
            if not left or not isinstance(error, HistoryChanged):
                raise _stopped_at(key, error) from error
    return 0


async def import_all(
    target: ReadStore, transfers: Transfers, reader: DumpReader, *, progress: Progress
) -> Imported:
    """Brings in every session of the file that is not there yet.

    Raises SetupError when an id is taken by another session, or a session cannot be read or stored; what came before
    it stays.
    """
    added = there = over = 0
    for header in reader.headers():
        if isinstance(header, ScopeHeader):
            await _import_shared(transfers, header, reader)
        elif await _is_there(target, header.session):
            there += 1
        elif await _import_one(transfers, header, reader):
            added += 1
        else:
            over += 1
        progress(reader.position)
    progress(reader.position)
    return Imported(added, there, over)


async def _is_there(target: ReadStore, session: Session) -> bool:
    """Whether the session came with an earlier import, even if it has been erased since: its log had gone on."""
    try:
        found = await target.session(session.key)
    except SessionNotFound:
        return (await target.heads([session.key])).get(session.key, 0) > session.last_sequence
    return found.create_time == session.create_time


async def _import_one(transfers: Transfers, header: Header, reader: DumpReader) -> bool:
    """False when nothing was left of the session."""
    key = header.session.key
    try:
        await transfers.move_in(key, reader.records(header))
    except InvalidState:
        return False
    except SessionExists as error:
        raise _stopped_at(
            key,
            "another session has this id in the database. Import into another database, or delete that session, then "
            "run the import again; what came before is imported.",
        ) from error
    except DomainError as error:
        raise _stopped_at(key, error) from error
    return True


async def _import_shared(transfers: Transfers, header: ScopeHeader, reader: DumpReader) -> None:
    try:
        await transfers.move_shared_in(header, reader.records(header))
    except DomainError as error:
        raise _stopped_at_scope(header.scope, error) from error


def _stopped_at_scope(scope: Scope, why: object) -> SetupError:
    owner = f"user {scope.user_id} of tenant {scope.tenant}" if scope.user_id else f"tenant {scope.tenant}"
    return SetupError(f"Stopped at the records of {owner}: {why}")


def _stopped_at(key: SessionKey, why: object) -> SetupError:
    return SetupError(f"Stopped at session {key.session_id} of tenant {key.tenant}: {why}")


def _of_another_database(path: Path, key: SessionKey) -> SetupError:
    return SetupError(
        f"{path} was begun with another database: session {key.session_id} of tenant {key.tenant} is not in this one "
        "as it stands there. Nothing was added; name another file, or the database that it was begun with."
    )
