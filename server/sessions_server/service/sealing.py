"""Encrypts records that lie outside the database for a while: an import on its way in, a session in a dump.

Each record is bound to its place, as everything is that an encrypted session keeps in the database.
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
    """Leaves records as they are."""

    def seal(self, place: int, data: bytes) -> bytes:
        return data

    def open(self, place: int, data: bytes) -> bytes:
        return data


@dataclass(frozen=True, slots=True)
class Sealed:
    """Encrypts under a data key of its own. Both ways raise KeyNotAvailable, DataCorrupted."""

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
    """Under a fresh data key. Raises EncryptionNotConfigured."""
    return Sealed(cells, key, column, cells.new_key(*key))


def sealed_if_possible(cells: Cells, key: SessionKey, column: str) -> Envelope:
    """Encrypts wherever there is a keyring; without one the server writes to no session that is encrypted."""
    data_key = new_data_key(cells, key)
    return Plain() if data_key is None else Sealed(cells, key, column, data_key)


def new_data_key(cells: Cells, key: SessionKey) -> bytes | None:
    """A fresh one. None without a keyring: whether that is a fault is decided where it is known what it was for."""
    try:
        return cells.new_key(*key)
    except EncryptionNotConfigured:
        return None
