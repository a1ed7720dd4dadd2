"""Writes the export file of a whole database, whose format is described in `lines.py`."""

from __future__ import annotations

import fcntl
import hashlib
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from sessions_server.domain.errors import EncryptionNotConfigured, KeyNotAvailable, SetupError
from sessions_server.domain.models import SessionKey
from sessions_server.domain.records import is_shared
from sessions_server.domain.transfer import (
    ExportRecord,
    Footer,
    Header,
    ScopeHeader,
)
from sessions_server.dump import form
from sessions_server.dump.lines import (
    CLOSING,
    COLUMN,
    DAMAGED,
    END,
    FIRST_LINE,
    HEADER,
    altered,
    claim,
    end_of,
    next_line,
    not_an_export,
    open_regular,
    record_of,
    usable,
)
from sessions_server.service.sealing import Plain, Sealed, sealed, sealed_if_possible

if TYPE_CHECKING:
    from hashlib import _Hash

    from sessions_server.domain.models import Session
    from sessions_server.domain.ports import Cells, Envelope
    from sessions_server.domain.records import Scope


class Reached(NamedTuple):
    """How far an unfinished file goes."""

    first: Session | None
    last: Session | None
    sessions: int
    digest: _Hash
    """Of everything up to there."""
    scopes: int = 0
    last_scope: Scope | None = None
    """The last user or tenant with records in the file."""
    last_key: SessionKey | None = None
    """The last session in the file, or named as damaged."""
    damaged: tuple[SessionKey, ...] = ()
    """The sessions and scopes named as damaged."""


class DumpWriter:
    """Appends complete sessions to a file that only its owner can read."""

    def __init__(self, file: IO[bytes], path: Path, cells: Cells, reached: Reached) -> None:
        self._file = file
        self._cells = cells
        self._place = 0
        self._digest = reached.digest.copy()
        self.path = path
        self.reached = reached

    async def add(self, records: AsyncIterator[ExportRecord]) -> None:
        """Appends the records of one session; if they end early, the file is unchanged."""
        start, digest = self._file.tell(), self._digest.copy()
        envelope: Envelope = Plain()
        try:
            async for record in records:
                if isinstance(record, (Header, ScopeHeader)):
                    envelope = self._begin(record)
                else:
                    self._write(record, envelope)
        except BaseException:
            self._file.flush()
            self._file.truncate(start)
            self._file.seek(start)
            self._digest = digest
            raise

    def leave_out(self, key: SessionKey) -> None:
        """Records that a session is damaged and missing from the file."""
        self._append(form.line_of("damaged", dict(key._asdict())))

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self, count: int) -> None:
        self._append(end_of(count, self._digest))
        self.sync()

    def _begin(self, header: Header | ScopeHeader) -> Envelope:
        self._place = 0
        self._append(form.write(header))
        envelope: Envelope = Plain()
        if isinstance(header, ScopeHeader):
            envelope = sealed_if_possible(self._cells, header.scope.cell_key, COLUMN)
        elif header.session.storage.encryption:
            envelope = self._sealed(header.session.key)
        if isinstance(envelope, Sealed):
            self._append(form.line_of("key", b64encode(envelope.data_key).decode()))
        return envelope

    def _sealed(self, key: SessionKey) -> Sealed:
        try:
            return sealed(self._cells, key, COLUMN)
        except EncryptionNotConfigured:
            raise KeyNotAvailable(
                "It is encrypted and there is no keyring; set SESSIONS_KEYRING to the keyring that it was created with."
            ) from None

    def _write(self, record: ExportRecord, envelope: Envelope) -> None:
        line = form.write(record)
        if not isinstance(envelope, Plain):
            kind = "sealed_footer" if isinstance(record, Footer) else "sealed"
            line = form.line_of(kind, b64encode(envelope.seal(self._place, line)).decode())
        self._place += 1
        self._append(line)

    def _append(self, line: bytes) -> None:
        for part in (line, b"\n"):
            self._file.write(part)
            self._digest.update(part)


@contextmanager
def open_to_write(path: Path, cells: Cells) -> Iterator[DumpWriter]:
    """Continues after the last complete session of the file. Raises SetupError if the file is not an export, is already
    complete, or is in use."""
    with usable(path), open(path, "a+b", opener=open_regular) as file:
        claim(path, file, fcntl.LOCK_EX)
        reached = _cut_to_whole_sessions(path, file)
        yield DumpWriter(file, path, cells, reached)


def _cut_to_whole_sessions(path: Path, file: IO[bytes]) -> Reached:
    """Truncates the file after the last complete session."""
    file.seek(0)
    line = file.readline(len(FIRST_LINE))
    if not FIRST_LINE.startswith(line):
        raise not_an_export(path, line)
    if line != FIRST_LINE:  # new, or cut off in its first line
        file.seek(0)
        file.truncate()
        file.write(FIRST_LINE)
        return Reached(None, None, 0, hashlib.sha256(FIRST_LINE))
    digest, session, scope = hashlib.sha256(line), None, None
    reached, end = Reached(None, None, 0, digest.copy()), file.tell()
    while (line := next_line(path, file)).endswith(b"\n"):
        if line.startswith(END):
            raise SetupError(f"{path} is a complete export already; name another file, or remove this one.")
        digest.update(line)
        header = record_of(path, line) if line.startswith(HEADER) else None
        if isinstance(header, Header):
            session, scope = header.session, None
        elif isinstance(header, ScopeHeader):
            scope = header.scope
        elif line.startswith(DAMAGED):
            reached, end = _past_damaged(reached, _damaged(path, line), digest), file.tell()
        elif line.startswith(CLOSING):
            reached = _further(reached, session, scope, digest)
            end = file.tell()
    file.truncate(end)
    file.seek(end)
    return reached


def _further(reached: Reached, session: Session | None, scope: Scope | None, digest: _Hash) -> Reached:
    """The state after one more session or scope."""
    if scope is not None:
        return reached._replace(digest=digest.copy(), scopes=reached.scopes + 1, last_scope=scope)
    return reached._replace(
        first=reached.first or session,
        last=session,
        last_key=reached.last_key if session is None else session.key,
        sessions=reached.sessions + 1,
        digest=digest.copy(),
    )


def _past_damaged(reached: Reached, key: SessionKey, digest: _Hash) -> Reached:
    last = reached.last_key if is_shared(key) else key
    return reached._replace(last_key=last, damaged=(*reached.damaged, key), digest=digest.copy())


def _damaged(path: Path, line: bytes) -> SessionKey:
    """The session that a line names as damaged."""
    try:
        return SessionKey(**form.value_of(line))
    except (ValueError, TypeError) as error:
        raise altered(path) from error
