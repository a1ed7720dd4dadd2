"""Moves all sessions and records of a database to a file, and from it into a database, also of the other kind.

Both ways can be cut off at any point and called again: an export goes on behind the last whole session in the file,
an import passes over what its database has already. A session comes in under its tenant and id, with its messages,
context, metadata and times, and its log goes on behind the position that it had; its older events are not moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from sessions_server.domain.errors import (
    DataCorrupted,
    DomainError,
    InvalidState,
    SessionExists,
    SessionNotFound,
    SetupError,
)
from sessions_server.domain.transfer import Header, ScopeHeader
from sessions_server.service.transfer import HistoryChanged

if TYPE_CHECKING:
    from pathlib import Path

    from sessions_server.domain.models import Session, SessionKey
    from sessions_server.domain.ports import ReadStore
    from sessions_server.domain.records import Scope
    from sessions_server.domain.transfer import ExportRecord
    from sessions_server.dump.reader import DumpReader
    from sessions_server.dump.writer import DumpWriter
    from sessions_server.service.transfer import SessionStore, Transfers

KEYS_PER_STEP = 256

Progress = Callable[[int], None]
"""Told, now and then, how many sessions (export) or bytes of the file (import) are behind."""


SESSIONS_AT_ONCE = 256
"""How many small sessions are brought in together."""

SMALL_BYTES = 64 * 1024
"""What a small session has at most in the file."""

GATHERED_BYTES = 2 * 1024 * 1024
"""What is brought in together, but for the last of it."""

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
    """Brings in every session of the file that is not there yet; small ones many together.

    Raises SetupError when an id is taken by another session, or a session cannot be read or stored; what came before
    it stays.
    """
    importer = _Importer(target, transfers, reader)
    for header in reader.headers():
        small = reader.small(SMALL_BYTES) if isinstance(header, Header) else None
        if isinstance(header, Header) and small is not None:
            if not importer.gather(header, small):
                continue
            await importer.flush()
        else:
            await importer.flush()
            await importer.stream(header)
        progress(reader.position)
    await importer.flush()
    progress(reader.position)
    return importer.imported


class _Importer:
    def __init__(self, target: ReadStore, transfers: Transfers, reader: DumpReader) -> None:
        self._target = target
        self._transfers = transfers
        self._reader = reader
        self._gathered: list[tuple[Header, list[bytes]]] = []
        self._bytes = 0
        self.imported = Imported(0, 0, 0)

    def gather(self, header: Header, lines: list[bytes]) -> bool:
        """Keeps a small session to be brought in with others; returns whether there are enough of them."""
        self._gathered.append((header, lines))
        self._bytes += sum(map(len, lines))
        return len(self._gathered) == SESSIONS_AT_ONCE or self._bytes > GATHERED_BYTES

    async def flush(self) -> None:
        """Brings in what was gathered, in one transaction if none of it is refused."""
        gathered, self._gathered, self._bytes = self._gathered, [], 0
        heads = await self._target.heads([header.session.key for header, _ in gathered])
        coming: list[SessionKey] = []
        outcomes: list[Awaitable[object]] = []
        stop: SetupError | None = None
        for header, lines in gathered:
            key = header.session.key
            if key in heads and await self._is_there(header.session):
                continue
            try:
                outcomes.append(self._transfers.send_in(key, self._reader.decoded(header, lines)))
            except DomainError as error:
                stop = _stopped_at(key, error)
                break
            coming.append(key)
        for key, outcome in zip(coming, await asyncio.gather(*outcomes, return_exceptions=True), strict=True):
            self._count(key, outcome)
        if stop is not None:
            raise stop

    async def stream(self, header: Header | ScopeHeader) -> None:
        """Brings in a large session, or the records of a scope."""
        records = self._reader.records(header, self._reader.lines())
        if isinstance(header, ScopeHeader):
            await _import_shared(self._transfers, header, records)
        elif not await self._is_there(header.session):
            key = header.session.key
            [outcome] = await asyncio.gather(self._transfers.move_in(key, records), return_exceptions=True)
            self._count(key, outcome)

    async def _is_there(self, session: Session) -> bool:
        is_there = await _is_there(self._target, session)
        self.imported = self.imported._replace(there=self.imported.there + is_there)
        return is_there

    def _count(self, key: SessionKey, outcome: object) -> None:
        """Raises SetupError where the session was refused for another reason than that nothing is left of it."""
        match outcome:
            case InvalidState():
                self.imported = self.imported._replace(over=self.imported.over + 1)
            case SessionExists():
                raise _stopped_at(
                    key,
                    "another session has this id in the database. Import into another database, or delete that "
                    "session, then run the import again; what came before is imported.",
                ) from outcome
            case DomainError():
                raise _stopped_at(key, outcome) from outcome
            case BaseException():
                raise outcome
            case _:
                self.imported = self.imported._replace(added=self.imported.added + 1)


async def _is_there(target: ReadStore, session: Session) -> bool:
    """Whether the session came with an earlier import, even if it has been erased since: its log had gone on."""
    try:
        found = await target.session(session.key)
    except SessionNotFound:
        return (await target.heads([session.key])).get(session.key, 0) > session.last_sequence
    return found.create_time == session.create_time


async def _import_shared(
    transfers: Transfers, header: ScopeHeader, records: AsyncIterator[ExportRecord]
) -> None:
    try:
        await transfers.move_shared_in(header, records)
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
