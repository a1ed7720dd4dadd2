"""Whether a server encrypts: with its keyring, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from sessions_server.domain.errors import EncryptionNotConfigured, KeyNotAvailable
from sessions_server.security.files import WatchedFile

if TYPE_CHECKING:
    from pathlib import Path

    from sessions_server.domain.ports import Cell, Cells


class NoKeyring:
    """A server without a keyring: it cannot create encrypted sessions, or read existing ones."""

    def keyring(self) -> object:
        return None

    def new_key(self, tenant: str, session_id: str) -> bytes:
        raise EncryptionNotConfigured

    def seal(self, wrapped: bytes, cell: Cell, plaintext: bytes) -> bytes:
        self._refuse()

    def open(self, wrapped: bytes, cell: Cell, sealed: bytes) -> bytes:
        self._refuse()

    def rewrap(self, tenant: str, session_id: str, wrapped: bytes) -> bytes | None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise KeyNotAvailable(
            "This session is encrypted and the server has no keyring; "
            "set SESSIONS_KEYRING to the keyring that the session was created with, then try again."
        )


def open_cells(keyring_path: Path | None) -> Cells:
    """The cells of a server with this setting. Raises SetupError when the keyring cannot be used."""
    if keyring_path is None:
        return NoKeyring()
    # Without a keyring nothing is encrypted, and the packages for it take long to import.
    from sessions_server.security.cells import KeyringCells
    from sessions_server.security.keyring import load_keyring

    return KeyringCells(WatchedFile(keyring_path, load=load_keyring).value)
