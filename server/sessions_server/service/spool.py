"""Stores the records of an import until the import is known to be complete; large ones on disk, in an unnamed file.

Content that will be encrypted must not reach a disk unencrypted, so what is stored here is encrypted too.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Final

from sessions_server.domain.errors import StorageFull, Unavailable
from sessions_server.domain.transfer import ExportRecord, decode_record, encode_record

if TYPE_CHECKING:
    from sessions_server.domain.ports import Envelope

logger = logging.getLogger(__name__)

_LENGTH_BYTES = 4
_MEMORY_BYTES = 1024 * 1024


_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def _open() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # closed by Spool.close


@dataclass(slots=True)
class Spool:
    envelope: Envelope
    size_bytes: int = 0
    """The size of all records."""
    _count: int = 0
    _file: IO[bytes] = field(default_factory=_open)

    async def append(self, *records: ExportRecord) -> None:
        await asyncio.to_thread(self._write, records)

    def records(self) -> Iterator[tuple[ExportRecord, int]]:
        """The records in order, each with its bytes, read one at a time."""
        with _usable():
            self._file.seek(0)
        for place in range(self._count):
            with _usable():
                length = int.from_bytes(self._file.read(_LENGTH_BYTES), "big")
                kept = self._file.read(length)
            yield decode_record(self.envelope.open(place, kept)), length

    def close(self) -> None:
        with suppress(OSError):  # the last write may fail on a full disk, but the content is discarded anyway
            self._file.close()

    def _write(self, records: Iterable[ExportRecord]) -> None:
        for record in records:
            kept = self.envelope.seal(self._count, encode_record(record))
            with _usable():
                self._file.write(len(kept).to_bytes(_LENGTH_BYTES, "big") + kept)
            self._count += 1
            self.size_bytes += len(kept)


@contextmanager
def _usable() -> Iterator[None]:
    """Raises StorageFull or Unavailable if the temporary folder cannot be used. The folder's name is only logged."""
    try:
        yield
    except OSError as error:
        logger.warning("an import cannot be kept in the temporary folder, which TMPDIR names: %s", error)
        if error.errno in _FULL:
            raise StorageFull(
                "The server's disk for imports under way is full; free some space, then try again."
            ) from error
        raise Unavailable("The server cannot keep an import for now; try again later.") from error
