"""The file that a whole database is moved in: a line for each record, a session's records together.

    ["sessions-dump",2]                     what the file is, and the version of its form
    ["header",…] … ["footer",…]             a session, as in an export
    ["header",…] ["key",…] ["sealed",…] … ["sealed-footer",…]
                                            an encrypted session: nothing but its header stands in clear
    ["scope",…] … ["footer",…]              the records of a user or a tenant; sealed as above if there is a keyring
    ["damaged","<tenant>","<session id>"]   a session that could not be read and is not in the file
    ["end",<of these>,"<SHA-256>"]          only once the file is whole; the digest is over every byte before this line

Only whole sessions count: whatever follows the last of them was cut off, and is written again. A file that does not
begin as one of these is never touched, and one command at a time uses it. Nothing of a file is imported before all of
it was found to be as it was written.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from sessions_server.domain.errors import EncryptionNotConfigured, KeyNotAvailable, SetupError
from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.models import SessionKey
from sessions_server.domain.records import is_shared
from sessions_server.domain.transfer import (
    ExportRecord,
    Footer,
    Header,
    ScopeHeader,
    decode_record,
    encode_record,
    is_sound,
)
from sessions_server.service.sealing import Plain, Sealed, sealed, sealed_if_possible

if TYPE_CHECKING:
    from hashlib import _Hash

    from sessions_server.domain.models import Session
    from sessions_server.domain.ports import Cells, Envelope
    from sessions_server.domain.records import Scope

FIRST_LINE: Final = b'["sessions-dump",2]\n'
COLUMN: Final = "dump"

LONGEST_LINE: Final = 64 * 1024 * 1024
"""Longer than any that is written: a page of messages, each byte six in JSON, encrypted, and in base64."""

_KIND: Final = b'["sessions-dump",'
_HEADER: Final = b'["header"'
_SCOPE: Final = b'["scope"'
_KEY: Final = b'["key"'
_CLOSING: Final = (b'["footer"', b'["sealed-footer"')
_DAMAGED: Final = b'["damaged"'
_END: Final = b'["end"'
_PRIVATE: Final = 0o600


class Reached(NamedTuple):
    """How far an unfinished file goes."""

    first: Session | None
    last: Session | None
    sessions: int
    digest: _Hash
    """Over all of it."""
    scopes: int = 0
    last_scope: Scope | None = None
    """The last user or tenant whose records are in it."""
    last_key: SessionKey | None = None
    """The last session that is in it, or is named as damaged."""
    damaged: tuple[SessionKey, ...] = ()
    """The sessions and scopes that are named as damaged."""


class DumpWriter:
    """Appends whole sessions to a file that only its owner may read."""

    def __init__(self, file: IO[bytes], path: Path, cells: Cells, reached: Reached) -> None:
        self._file = file
        self._cells = cells
        self._place = 0
        self._digest = reached.digest.copy()
        self.path = path
        self.reached = reached

    async def add(self, records: AsyncIterator[ExportRecord]) -> None:
        """Appends the records of one session; when they break off, the file is as it was."""
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
        """Says that a session is damaged, so that the file lacks it."""
        self._append(dumps(["damaged", *key]))

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self, count: int) -> None:
        self._append(dumps(["end", count, self._digest.hexdigest()]))
        self.sync()

    def _begin(self, header: Header | ScopeHeader) -> Envelope:
        self._place = 0
        self._append(encode_record(header))
        envelope: Envelope = Plain()
        if isinstance(header, ScopeHeader):
            envelope = sealed_if_possible(self._cells, header.scope.cell_key, COLUMN)
        elif header.session.storage.encryption:
            envelope = self._sealed(header.session.key)
        if isinstance(envelope, Sealed):
            self._append(dumps(["key", b64encode(envelope.data_key).decode()]))
        return envelope

    def _sealed(self, key: SessionKey) -> Sealed:
        try:
            return sealed(self._cells, key, COLUMN)
        except EncryptionNotConfigured:
            raise KeyNotAvailable(
                "It is encrypted and there is no keyring; set SESSIONS_KEYRING to the keyring that it was created with."
            ) from None

    def _write(self, record: ExportRecord, envelope: Envelope) -> None:
        line = encode_record(record)
        if not isinstance(envelope, Plain):
            kind = "sealed-footer" if isinstance(record, Footer) else "sealed"
            line = dumps([kind, b64encode(envelope.seal(self._place, line)).decode()])
        self._place += 1
        self._append(line)

    def _append(self, line: bytes) -> None:
        for part in (line, b"\n"):
            self._file.write(part)
            self._digest.update(part)


@contextmanager
def open_to_write(path: Path, cells: Cells) -> Iterator[DumpWriter]:
    """Goes on behind the last whole session of the file. Raises SetupError for a file that is something else, or
    whole already, or in use."""
    with _usable(path), open(path, "a+b", opener=_open) as file:
        _claim(path, file, fcntl.LOCK_EX)
        reached = _cut_to_whole_sessions(path, file)
        yield DumpWriter(file, path, cells, reached)


class DumpReader:
    """Reads a whole file, session after session."""

    def __init__(self, file: IO[bytes], path: Path, cells: Cells) -> None:
        self._file = file
        self._path = path
        self._cells = cells

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    @property
    def position(self) -> int:
        return self._file.tell()

    def headers(self) -> Iterator[Header | ScopeHeader]:
        """The header of each session, and of each user or tenant with records. What follows is read by `lines` or
        `small`, or passed over."""
        while not (line := self._line()).startswith(_END):
            if line.startswith(_DAMAGED):
                continue
            header = self._decoded(line)
            if not isinstance(header, (Header, ScopeHeader)):
                raise _altered(self._path)
            start = self._file.tell()
            yield header
            if self._file.tell() == start:
                self._pass_over()

    def lines(self) -> Iterator[bytes]:
        """What follows the header that was read last, to the end of its session or scope."""
        line = b""
        while not line.startswith(_CLOSING):
            line = self._line()
            yield line

    def small(self, most: int) -> list[bytes] | None:
        """The same at once; None, and nothing is read, where it has more than this many bytes."""
        start, found, size = self._file.tell(), [], 0
        for line in self.lines():
            found.append(line)
            size += len(line)
            if size > most:
                self._file.seek(start)
                return None
        return found

    async def records(
        self, header: Header | ScopeHeader, lines: Iterable[bytes]
    ) -> AsyncIterator[ExportRecord]:
        """All that belongs to a header. Raises KeyNotAvailable, DataCorrupted."""
        for record in self.decoded(header, lines):
            yield record

    def decoded(self, header: Header | ScopeHeader, lines: Iterable[bytes]) -> Iterator[ExportRecord]:
        yield header
        envelope: Envelope = Plain()
        rest = iter(lines)
        line = next(rest)
        if line.startswith(_KEY):
            key = header.session.key if isinstance(header, Header) else header.scope.cell_key
            envelope, line = Sealed(self._cells, key, COLUMN, self._content(line)), next(rest)
        elif isinstance(header, Header) and header.session.storage.encryption:
            raise _altered(self._path)
        for place, stored in enumerate(chain((line,), rest)):
            yield self._decoded(
                stored if isinstance(envelope, Plain) else envelope.open(place, self._content(stored))
            )

    def _pass_over(self) -> None:
        for _ in self.lines():
            pass

    def _line(self) -> bytes:
        line = _next_line(self._path, self._file)
        if not line.endswith(b"\n"):
            raise _unfinished(self._path)
        return line

    def _content(self, line: bytes) -> bytes:
        """What a line holds that is no record in clear."""
        try:
            _, text = loads(line)
            return b64decode(text, validate=True)
        except (ValueError, TypeError) as error:
            raise _altered(self._path) from error

    def _decoded(self, line: bytes) -> ExportRecord:
        return _record(self._path, line)


@contextmanager
def open_to_read(path: Path, cells: Cells) -> Iterator[DumpReader]:
    """Raises SetupError for a file that is not one of these, not whole, not as it was written, or in use."""
    with _usable(path), open(path, "rb", opener=_open) as file:
        _claim(path, file, fcntl.LOCK_SH)
        _check_is_whole(path, file)
        yield DumpReader(file, path, cells)


def _check_is_whole(path: Path, file: IO[bytes]) -> None:
    """Reads all of it once."""
    line = file.readline(len(FIRST_LINE))
    if line != FIRST_LINE:
        raise _not_a_dump(path, line)
    digest, sessions = hashlib.sha256(), 0
    while not line.startswith(_END):
        digest.update(line)
        sessions += line.startswith(_CLOSING)
        line = _next_line(path, file)
        if not line.endswith(b"\n"):
            raise _unfinished(path)
    if line != dumps(["end", sessions, digest.hexdigest()]) + b"\n" or file.read(1):
        raise _altered(path)
    file.seek(len(FIRST_LINE))


def _cut_to_whole_sessions(path: Path, file: IO[bytes]) -> Reached:
    """Takes off what follows the last whole session."""
    file.seek(0)
    line = file.readline(len(FIRST_LINE))
    if not FIRST_LINE.startswith(line):
        raise _not_a_dump(path, line)
    if line != FIRST_LINE:  # new, or cut off in its first line
        file.seek(0)
        file.truncate()
        file.write(FIRST_LINE)
        return Reached(None, None, 0, hashlib.sha256(FIRST_LINE))
    digest, session, scope = hashlib.sha256(line), None, None
    reached, end = Reached(None, None, 0, digest.copy()), file.tell()
    while (line := _next_line(path, file)).endswith(b"\n"):
        if line.startswith(_END):
            raise SetupError(f"{path} is a whole export already; name another file, or remove this one.")
        digest.update(line)
        header = _record(path, line) if line.startswith((_HEADER, _SCOPE)) else None
        if isinstance(header, Header):
            session, scope = header.session, None
        elif isinstance(header, ScopeHeader):
            scope = header.scope
        elif line.startswith(_DAMAGED):
            reached, end = _past_damaged(reached, _damaged(path, line), digest), file.tell()
        elif line.startswith(_CLOSING):
            reached = _further(reached, session, scope, digest)
            end = file.tell()
    file.truncate(end)
    file.seek(end)
    return reached


def _further(reached: Reached, session: Session | None, scope: Scope | None, digest: _Hash) -> Reached:
    """After one more session, or one more scope."""
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
        _, tenant, session_id = loads(line)
    except (ValueError, TypeError) as error:
        raise _altered(path) from error
    return SessionKey(tenant, session_id)


def _next_line(path: Path, file: IO[bytes]) -> bytes:
    """A line, or what there is of one at the file's end."""
    line = file.readline(LONGEST_LINE + 1)
    if len(line) > LONGEST_LINE:
        raise _altered(path)
    return line


def _record(path: Path, line: bytes) -> ExportRecord:
    try:
        record = decode_record(line)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _altered(path) from error
    if not is_sound(record):
        raise _altered(path)
    return record


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"{path} cannot be used ({error.strerror}); check that it is a file that you may use, in a folder "
            "that exists and has room."
        ) from error


def _open(name: str, flags: int) -> int:
    """Raises SetupError for a folder, a device or a pipe."""
    # Without O_NONBLOCK opening a pipe would wait for somebody at its other end.
    descriptor = os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC, _PRIVATE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SetupError(f"{name} is not a regular file; name a file.")
    return descriptor


def _claim(path: Path, file: IO[bytes], lock: int) -> None:
    """Until the file is closed. Raises SetupError when another command has it."""
    try:
        fcntl.flock(file, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SetupError(
            f"Another command is using {path}; wait until it has ended, or name another file."
        ) from None


def _not_a_dump(path: Path, line: bytes) -> SetupError:
    if line.startswith(_KIND):
        return SetupError(
            f"{path} was exported by another release of this program, and was left as it is; export again with this "
            "release."
        )
    return SetupError(f"{path} is not an export of this program, and was left as it is; name another file.")


def _altered(path: Path) -> SetupError:
    return SetupError(
        f"{path} is not as it was exported: it was altered or damaged since. Export again, to another file, or take "
        "this one from a backup."
    )


def _unfinished(path: Path) -> SetupError:
    return SetupError(
        f"{path} is not whole; run `sessions-server export {path}` again, which goes on where it stopped."
    )
