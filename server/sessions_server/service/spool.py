"""Keeps the records of an import until they are known to be whole; large ones on disk, in a file without a name.

Content of a session that is to be encrypted must not reach a disk in clear on its way in, so its records are sealed.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

from sessions_server.domain.transfer import Record, decode_record, encode_record

_LENGTH_BYTES = 4
_MEMORY_BYTES = 1024 * 1024

Seal = Callable[[int, bytes], bytes]
"""Turns the record at a place into what is kept, or back."""


def plain(_: int, data: bytes) -> bytes:
    return data


def _open() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # closed by Spool.close


@dataclass(slots=True)
class Spool:
    seal: Seal = plain
    unseal: Seal = plain
    _count: int = 0
    _file: IO[bytes] = field(default_factory=_open)

    async def append(self, record: Record) -> None:
        sealed = self.seal(self._count, encode_record(record))
        self._count += 1
        await asyncio.to_thread(self._file.write, len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed)

    def records(self) -> Iterator[Record]:
        """The records in their order, read one at a time."""
        self._file.seek(0)
        for place in range(self._count):
            length = int.from_bytes(self._file.read(_LENGTH_BYTES), "big")
            yield decode_record(self.unseal(place, self._file.read(length)))

    def close(self) -> None:
        self._file.close()
