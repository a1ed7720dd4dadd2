"""The file that a whole database is moved in: a line for each record, a session's records together.

    ["sessions-dump",1]                     what the file is
    ["header",…] … ["footer",…]             a session, as in an export
    ["header",…] ["key",…] ["sealed",…] … ["sealed-footer",…]
                                            an encrypted session: nothing but its header stands in clear
    ["end",<sessions>]                      only once the file is whole

Only whole sessions count: whatever follows the last of them was cut off, and is written again. A file that does not
begin as one of these is never touched.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from sessions_server.domain.errors import EncryptionNotConfigured, KeyNotAvailable, SetupError
from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.transfer import Footer, Header, Record, decode_record, encode_record
from sessions_server.service.sealing import Envelope, Plain, Sealed, sealed

if TYPE_CHECKING:
    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.ports import Cells

FIRST_LINE = b'["sessions-dump",1]\n'
COLUMN = "dump"

_CLOSING = (b'["footer"', b'["sealed-footer"')
_END = b'["end"'
_LAST_LINE = re.compile(rb'\n\["end",\d+\]\n\Z')
_TAIL_BYTES = 64
_PRIVATE = 0o600


class Reached(NamedTuple):
    """How far an unfinished file goes."""

    last: SessionKey | None
    sessions: int


class DumpWriter:
    """Appends whole sessions to a file that only its owner may read."""

    def __init__(self, file: IO[bytes], cells: Cells, reached: Reached) -> None:
        self._file = file
        self._cells = cells
        self._place = 0
        self.reached = reached

    async def add(self, records: AsyncIterator[Record]) -> None:
        """Appends the records of one session; when they break off, the file is as it was."""
        start = self._file.tell()
        envelope: Envelope = Plain()
        try:
            async for record in records:
                if isinstance(record, Header):
                    envelope = self._begin(record)
                else:
                    self._write(record, envelope)
        except BaseException:
            self._file.flush()
            self._file.truncate(start)
            self._file.seek(start)
            raise

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self, count: int) -> None:
        self._file.write(dumps(["end", count]) + b"\n")
        self.sync()

    def _begin(self, header: Header) -> Envelope:
        self._place = 0
        self._file.write(encode_record(header) + b"\n")
        if not header.session.storage.encryption:
            return Plain()
        envelope = self._sealed(header.session.key)
        self._file.write(dumps(["key", b64encode(envelope.data_key).decode()]) + b"\n")
        return envelope

    def _sealed(self, key: SessionKey) -> Sealed:
        try:
            return sealed(self._cells, key, COLUMN)
        except EncryptionNotConfigured:
            raise KeyNotAvailable(
                "It is encrypted and there is no keyring; set SESSIONS_KEYRING to the keyring that it was created with."
            ) from None

    def _write(self, record: Record, envelope: Envelope) -> None:
        line = encode_record(record)
        if not isinstance(envelope, Plain):
            kind = "sealed-footer" if isinstance(record, Footer) else "sealed"
            line = dumps([kind, b64encode(envelope.seal(self._place, line)).decode()])
        self._place += 1
        self._file.write(line + b"\n")


@contextmanager
def open_to_write(path: Path, cells: Cells) -> Iterator[DumpWriter]:
    """Goes on behind the last whole session of the file. Raises SetupError for a file that is something else, or
    whole already."""
    with _usable(path), open(path, "a+b", opener=_privately) as file:
        reached = _cut_to_whole_sessions(path, file)
        yield DumpWriter(file, cells, reached)


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

    def headers(self) -> Iterator[Header]:
        """The header of each session. Its other records are read by `records`, or passed over."""
        while not (line := self._line()).startswith(_END):
            header = self._decoded(line)
            if not isinstance(header, Header):
                raise _not_a_dump(self._path)
            start = self._file.tell()
            yield header
            if self._file.tell() == start:
                self._pass_over()

    async def records(self, header: Header) -> AsyncIterator[Record]:
        """All records of the session whose header was read last. Raises KeyNotAvailable, DataCorrupted."""
        yield header
        envelope: Envelope = Plain()
        if header.session.storage.encryption:
            key = self._content(self._line())
            envelope = Sealed(self._cells, header.session.key, COLUMN, key)
        record, place = None, 0
        while not isinstance(record, Footer):
            line = self._line()
            if not isinstance(envelope, Plain):
                line = envelope.open(place, self._content(line))
            record = self._decoded(line)
            place += 1
            yield record

    def _pass_over(self) -> None:
        while not self._line().startswith(_CLOSING):
            pass

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise _unfinished(self._path)
        return line

    def _content(self, line: bytes) -> bytes:
        """What a line holds that is no record in clear."""
        try:
            _, text = loads(line)
            return b64decode(text, validate=True)
        except (ValueError, TypeError) as error:
            raise _not_a_dump(self._path) from error

    def _decoded(self, line: bytes) -> Record:
        return _record(self._path, line)


@contextmanager
def open_to_read(path: Path, cells: Cells) -> Iterator[DumpReader]:
    """Raises SetupError for a file that is not one of these, or not whole."""
    with _usable(path), path.open("rb") as file:
        _check_is_whole(path, file)
        yield DumpReader(file, path, cells)


def _check_is_whole(path: Path, file: IO[bytes]) -> None:
    if file.readline() != FIRST_LINE:
        raise _not_a_dump(path)
    file.seek(max(os.fstat(file.fileno()).st_size - _TAIL_BYTES, 0))
    if not _LAST_LINE.search(file.read()):
        raise _unfinished(path)
    file.seek(len(FIRST_LINE))


def _cut_to_whole_sessions(path: Path, file: IO[bytes]) -> Reached:
    """Takes off what follows the last whole session."""
    file.seek(0)
    first = file.readline()
    if not FIRST_LINE.startswith(first):
        raise _not_a_dump(path)
    if first != FIRST_LINE:  # new, or cut off in its first line
        file.truncate(0)
        file.write(FIRST_LINE)
        return Reached(None, 0)
    reached, end, key = Reached(None, 0), file.tell(), None
    while (line := file.readline()).endswith(b"\n"):
        if line.startswith(_END):
            raise SetupError(f"{path} is a whole export already; name another file, or remove this one.")
        if line.startswith(b'["header"') and isinstance(header := _record(path, line), Header):
            key = header.session.key
        elif line.startswith(_CLOSING):
            reached, end = Reached(key, reached.sessions + 1), file.tell()
    file.truncate(end)
    file.seek(end)
    return reached


def _record(path: Path, line: bytes) -> Record:
    try:
        return decode_record(line)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_a_dump(path) from error


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"{path} can not be used ({error.strerror}); check that it is a file that you may use, in a folder "
            "that exists and has room."
        ) from error


def _privately(name: str, flags: int) -> int:
    return os.open(name, flags, _PRIVATE)


def _not_a_dump(path: Path) -> SetupError:
    return SetupError(f"{path} is not an export of this program, and was left as it is; name another file.")


def _unfinished(path: Path) -> SetupError:
    return SetupError(
        f"{path} is not whole; run `sessions-server export {path}` again, which goes on where it stopped."
    )
