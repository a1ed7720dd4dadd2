"""Reads the export file of a whole database, whose format is described in `lines.py`."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from base64 import b64decode
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.transfer import (
    ExportRecord,
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
    FIRST_RELEASE,
    KEY,
    LONGEST_LINE,
    altered,
    claim,
    end_of,
    next_line,
    not_an_export,
    open_regular,
    record_of,
    unfinished,
    usable,
)
from sessions_server.service.sealing import Plain, Sealed

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells, Envelope


class DumpReader:
    """Reads a complete file session by session."""

    def __init__(self, file: IO[bytes], path: Path, cells: Cells) -> None:
        self._file = file
        self._path = path
        self._cells = cells
        self.position = file.tell()
        """The position up to which the file was read."""

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def headers(self) -> Iterator[Header | ScopeHeader]:
        """Yields the header of each session, and of each user or tenant with records. The rest is read by `lines` or
        `small`, or skipped."""
        while not (line := self._line()).startswith(END):
            if line.startswith(DAMAGED):
                continue
            header = self._decoded(line)
            if not isinstance(header, (Header, ScopeHeader)):
                raise altered(self._path)
            start = self.position
            yield header
            if self.position == start:
                self._pass_over()

    def lines(self) -> Iterator[bytes]:
        """The lines after the last header read, to the end of its session or scope."""
        line = b""
        while not line.startswith(CLOSING):
            line = self._line()
            yield line

    def small(self, most: int) -> list[bytes] | None:
        """The same lines at once; None, without reading anything, if they have more than this many bytes."""
        start, found, line = self.position, list[bytes](), b""
        while not line.startswith(CLOSING):
            found.append(line := self._line())
            if self.position - start > most:
                self._file.seek(start)
                self.position = start
                return None
        return found

    async def records(
        self, header: Header | ScopeHeader, lines: Iterable[bytes]
    ) -> AsyncIterator[ExportRecord]:
        """The same as `decoded`, for use cases that take records one at a time."""
        for record in self.decoded(header, lines):
            yield record

    def decoded(self, header: Header | ScopeHeader, lines: Iterable[bytes]) -> Iterator[ExportRecord]:
        """The records that belong to a header. Raises KeyNotAvailable, DataCorrupted; SetupError for an altered
        file."""
        yield header
        envelope: Envelope = Plain()
        rest = iter(lines)
        line = next(rest)
        if line.startswith(KEY):
            key = header.session.key if isinstance(header, Header) else header.scope.cell_key
            envelope, line = Sealed(self._cells, key, COLUMN, self._content(line)), next(rest)
        elif isinstance(header, Header) and header.session.storage.encryption:
            raise altered(self._path)
        for place, stored in enumerate(chain((line,), rest)):
            yield self._decoded(
                stored if isinstance(envelope, Plain) else envelope.open(place, self._content(stored))
            )

    def _pass_over(self) -> None:
        for _ in self.lines():
            pass

    def _line(self) -> bytes:
        line = next_line(self._path, self._file)
        if not line.endswith(b"\n"):
            raise unfinished(self._path)
        self.position += len(line)
        return line

    def _content(self, line: bytes) -> bytes:
        """The content of a line that is not an unencrypted record."""
        try:
            return b64decode(form.value_of(line), validate=True)
        except (ValueError, TypeError) as error:
            raise altered(self._path) from error

    def _decoded(self, line: bytes) -> ExportRecord:
        return record_of(self._path, line)


@contextmanager
def open_to_read(path: Path, cells: Cells) -> Iterator[DumpReader]:
    """Raises SetupError for a file that is not an export, is incomplete or altered, or is in use."""
    with usable(path), open(path, "rb", opener=open_regular) as file:
        claim(path, file, fcntl.LOCK_SH)
        with _as_lines(path, file) as lines:
            _check_is_whole(path, lines)
            yield DumpReader(lines, path, cells)


@contextmanager
def _as_lines(path: Path, file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The file itself, or lines made from its single JSON document."""
    line = file.readline(len(FIRST_LINE))
    file.seek(0)
    if line in (FIRST_LINE, FIRST_RELEASE) or not line.lstrip().startswith(b"{"):
        yield file
        return
    records = _records_of_document(path, file, line)
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as lines:
        for part in (FIRST_LINE, *records):
            lines.write(part)
            digest.update(part)
        lines.write(end_of(1, digest) + b"\n")
        lines.seek(0)
        yield lines


def _records_of_document(path: Path, file: IO[bytes], line: bytes) -> list[bytes]:
    """The lines of the document's records."""
    text = file.read(LONGEST_LINE + 1)
    try:
        document = loads(text) if len(text) <= LONGEST_LINE else None
    except ValueError:
        document = None
    match document:
        case {"format": form.FORMAT, "records": [*records]}:
            with suppress(TypeError):  # raised for JSON that nests too deeply
                return [dumps(record) + b"\n" for record in records]
    raise altered(path) if form.FORMAT.encode() in line else not_an_export(path, line)


def _check_is_whole(path: Path, file: IO[bytes]) -> None:
    """Reads the whole file once."""
    first = line = file.readline(len(FIRST_LINE))
    if first not in (FIRST_LINE, FIRST_RELEASE):
        raise not_an_export(path, first)
    digest, sessions = hashlib.sha256(), 0
    while not line.startswith(END):
        digest.update(line)
        sessions += line.startswith(CLOSING)
        line = next_line(path, file)
        if not line.endswith(b"\n"):
            raise unfinished(path)
    end = end_of(sessions, digest) if first == FIRST_LINE else dumps(["end", sessions, digest.hexdigest()])
    if line != end + b"\n" or file.read(1):
        raise altered(path)
    file.seek(len(first))
