"""Keeps the records of an import until they are known to be whole; large ones on disk, in a file without a name.

Content that will be encrypted must not reach a disk in clear on its way in, so what is kept here is encrypted too.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from sessions_server.domain.transfer import Record, decode_record, encode_record

if TYPE_CHECKING:
    from sessions_server.service.sealing import Envelope

_LENGTH_BYTES = 4
_MEMORY_BYTES = 1024 * 1024


def _open() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # closed by Spool.close


@dataclass(slots=True)
class Spool:
    envelope: Envelope
    _count: int = 0
    _file: IO[bytes] = field(default_factory=_open)

    async def append(self, record: Record) -> None:
        await asyncio.to_thread(self._write, record)

    def records(self) -> Iterator[Record]:
        """The records in their order, read one at a time."""
        self._file.seek(0)
        for place in range(self._count):
            length = int.from_bytes(self._file.read(_LENGTH_BYTES), "big")
            yield decode_record(self.envelope.open(place, self._file.read(length)))

    def close(self) -> None:
        self._file.close()

    def _write(self, record: Record) -> None:
        kept = self.envelope.seal(self._count, encode_record(record))
        self._file.write(len(kept).to_bytes(_LENGTH_BYTES, "big") + kept)
        self._count += 1
