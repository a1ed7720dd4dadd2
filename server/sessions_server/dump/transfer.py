"""Exports all sessions and records of a database to a file, and imports them into a database of either kind.

Both can be interrupted at any point and run again: an export resumes after the last complete session in the file, an
import skips what the database already has. A session keeps its tenant, id, messages, context, metadata and times, and
its log continues after its previous position; older events are not moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence as Seq
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

    from sessions_server.domain.commit import Commit
    from sessions_server.domain.models import Session, SessionKey
    from sessions_server.domain.ports import ReadStore, SessionStore
    from sessions_server.domain.records import Scope
    from sessions_server.domain.transfer import ExportRecord
    from sessions_server.dump.reader import DumpReader
    from sessions_server.dump.writer import DumpWriter
    from sessions_server.service.transfer import Transfers

KEYS_PER_STEP = 256

Progress = Callable[[int], None]
"""Called now and then with the number of finished sessions (export) or bytes of the file (import)."""


SESSIONS_AT_ONCE = 512
"""How many small sessions to import together."""

SMALL_BYTES = 64 * 1024
"""The maximum size of a small session in the file."""

GATHERED_BYTES = 2 * 1024 * 1024
"""The total size of sessions to import together, not counting the last one."""

PREPARED_AT_ONCE = 16
"""How many sessions to read and check before the event loop gets a turn, which it needs to receive PostgreSQL's
results for the sessions sent before."""

MOST_TRIES = 16
"""How often to restart the export of a session whose history is shortened meanwhile."""


class Exported(NamedTuple):
    sessions: int
    """The number of sessions in the file."""
    damaged: tuple[SessionKey, ...]
    """The sessions left out of the file. Records of a user or a tenant are named by their scope's `cell_key`."""


class Imported(NamedTuple):
    added: int
    there: int
    """Sessions from an earlier import of the file."""
    over: int
    """Sessions whose ttl has ended since the export, together with their data."""


async def export_all(
    source: SessionStore, transfers: Transfers, writer: DumpWriter, *, progress: Progress
) -> Exported:
    """Appends what the file lacks and completes it. A session with damaged data is left out, and named in the file.

    Raises SetupError for a session with a missing key, and for a file started with another database.
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
    """Appends the records of users and tenants; returns how many of these have records in the file."""
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
    """Whether an exported session is in this database, or was erased from it since, which leaves its log's head."""
    try:
        found = await source.session(session.key)
    except DataCorrupted:  # damaged since, so it cannot be ruled out
        return True
    except SessionNotFound:
        return (await source.heads([session.key])).get(session.key, 0) >= session.last_sequence
    return found.create_time == session.create_time


async def _export_one(transfers: Transfers, key: SessionKey, writer: DumpWriter) -> int:
    """Returns how many sessions were added: none if it was erased meanwhile. Starts again if its history was shortened.
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
    """Imports every session of the file that is missing; small ones many at a time.

    Raises SetupError if an id is used by another session, or a session cannot be read or stored; earlier sessions stay
    imported.
    """
    importer = _Importer(target, transfers, reader, progress)
    for header in reader.headers():
        small = reader.small(SMALL_BYTES) if isinstance(header, Header) else None
        if isinstance(header, Header) and small is not None:
            if importer.gather(header, small):
                await importer.flush()
        else:
            await importer.finish()
            await importer.stream(header)
    await importer.finish()
    return importer.imported


class _Sent(NamedTuple):
    """Small sessions being committed together."""

    keys: list[SessionKey]
    outcomes: Seq[Awaitable[object]]
    position: int
    """The position in the file after the last of them."""


class _Importer:
    """Imports small sessions in batches: while one is committed, the next is read and checked."""

    def __init__(
        self, target: ReadStore, transfers: Transfers, reader: DumpReader, progress: Progress
    ) -> None:
        self._target = target
        self._transfers = transfers
        self._reader = reader
        self._progress = progress
        self._gathered: list[tuple[Header, list[bytes]]] = []
        self._bytes = 0
        self._sent = _Sent([], [], 0)
        self.imported = Imported(0, 0, 0)

    def gather(self, header: Header, lines: list[bytes]) -> bool:
        """Collects a small session to import with others; returns whether there are enough."""
        self._gathered.append((header, lines))
        self._bytes += sum(map(len, lines))
        return len(self._gathered) == SESSIONS_AT_ONCE or self._bytes > GATHERED_BYTES

    async def flush(self) -> None:
        """Sends the collected sessions once those sent before are committed: in one transaction if none is refused."""
        position, (coming, stop) = self._reader.position, await self._prepare()
        await self._settle()
        self._sent = _Sent([commit.key for commit in coming], self._transfers.send_in(coming), position)
        if stop is not None:
            await self._settle()
            raise stop

    async def _prepare(self) -> tuple[list[Commit], SetupError | None]:
        """Returns commits for the collected sessions that are missing, and the error that stops the import, if any."""
        gathered, self._gathered, self._bytes = self._gathered, [], 0
        heads = await self._target.heads([header.session.key for header, _ in gathered])
        coming: list[Commit] = []
        for number, (header, lines) in enumerate(gathered):
            key = header.session.key
            if key in heads and await self._is_there(header.session):
                continue
            try:
                coming.append(self._transfers.prepare(key, self._reader.decoded(header, lines)))
            except SetupError as error:
                return coming, error
            except DomainError as error:
                return coming, _stopped_at(key, error)
            if number % PREPARED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return coming, None

    async def finish(self) -> None:
        """Imports the collected sessions and waits until everything sent is committed."""
        if self._gathered:
            await self.flush()
        await self._settle()

    async def _settle(self) -> None:
        """Waits until the sessions sent are committed. Raises SetupError for the first that was refused."""
        sent, self._sent = self._sent, _Sent([], [], 0)
        outcomes = await asyncio.gather(*sent.outcomes, return_exceptions=True)
        for key, outcome in zip(sent.keys, outcomes, strict=True):
            self._count(key, outcome)
        if sent.position:
            self._progress(sent.position)

    async def stream(self, header: Header | ScopeHeader) -> None:
        """Imports a large session, or the records of a scope."""
        records = self._reader.records(header, self._reader.lines())
        if isinstance(header, ScopeHeader):
            await _import_shared(self._transfers, header, records)
        elif not await self._is_there(header.session):
            key = header.session.key
            [outcome] = await asyncio.gather(self._transfers.move_in(key, records), return_exceptions=True)
            self._count(key, outcome)
        self._progress(self._reader.position)

    async def _is_there(self, session: Session) -> bool:
        is_there = await _is_there(self._target, session)
        self.imported = self.imported._replace(there=self.imported.there + is_there)
        return is_there

    def _count(self, key: SessionKey, outcome: object) -> None:
        """Raises SetupError if the session was refused for any reason other than having expired."""
        match outcome:
            case InvalidState():
                self.imported = self.imported._replace(over=self.imported.over + 1)
            case SessionExists():
                raise _stopped_at(
                    key,
                    "another session has this id in the database. Import into another database, or delete that "
                    "session, then run the import again; earlier sessions are imported.",
                ) from outcome
            case DomainError():
                raise _stopped_at(key, outcome) from outcome
            case BaseException():
                raise outcome
            case _:
                self.imported = self.imported._replace(added=self.imported.added + 1)


async def _is_there(target: ReadStore, session: Session) -> bool:
    """Whether an earlier import added the session, even if it has been erased since: its log would have continued."""
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
        f"{path} was begun with another database: session {key.session_id} of tenant {key.tenant} is missing or "
        "different in this one. Nothing was added; name another file, or the database that it was begun with."
    )
