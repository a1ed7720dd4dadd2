"""Encrypts records that are temporarily outside the database: imports in progress, and sessions in a dump.

Each record is bound to its place, like everything of an encrypted session in the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sessions_server.domain.errors import EncryptionNotConfigured
from sessions_server.domain.ports import Cell

if TYPE_CHECKING:
    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.ports import Cells, Envelope


class Plain:
    """Leaves records unencrypted."""

    def seal(self, place: int, data: bytes) -> bytes:
        return data

    def open(self, place: int, data: bytes) -> bytes:
        return data


@dataclass(frozen=True, slots=True)
class Sealed:
    """Encrypts with a separate data key. Both methods raise KeyNotAvailable, DataCorrupted."""

    cells: Cells
    key: SessionKey
    column: str
    data_key: bytes
    """Wrapped by a key of the keyring."""

    def seal(self, place: int, data: bytes) -> bytes:
        return self.cells.seal(self.data_key, self._cell(place), data)

    def open(self, place: int, data: bytes) -> bytes:
        return self.cells.open(self.data_key, self._cell(place), data)

    def _cell(self, place: int) -> Cell:
        return Cell(*self.key, self.column, str(place))


def sealed(cells: Cells, key: SessionKey, column: str) -> Sealed:
    """Encrypts with a new data key. Raises EncryptionNotConfigured."""
    return Sealed(cells, key, column, cells.new_key(*key))


def sealed_if_possible(cells: Cells, key: SessionKey, column: str) -> Envelope:
    """Encrypts if there is a keyring; a server without one writes to no encrypted session."""
    data_key = new_data_key(cells, key)
    return Plain() if data_key is None else Sealed(cells, key, column, data_key)


def new_data_key(cells: Cells, key: SessionKey) -> bytes | None:
    """A new data key; None without a keyring. Whether that is an error is decided where the key is needed."""
    try:
        return cells.new_key(*key)
    except EncryptionNotConfigured:
        return None
