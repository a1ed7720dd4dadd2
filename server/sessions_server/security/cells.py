"""Envelope encryption: each session has its own data key, wrapped by a key of the keyring; all AES-256-GCM.

The invariant: a stored value opens only in the place it was sealed for. A value that was altered, moved or sealed with
another key raises an error; it never decrypts to something else.

    wrapped data key   format (1 byte), key id (4), data key id (16), nonce (12), encrypted key (32), tag (16)
        authenticated with it: format, tenant, session id, key id, data key id
    sealed cell        format (1), nonce (12), encrypted value, tag (16)
        authenticated with it: format, tenant, session id, column, row, data key id

Rotation rewraps the data key and leaves the cells unchanged. A cell therefore cannot be bound to the number of the
keyring's key, which changes with each rewrap. It is bound to the data key's id: random, created with the data key, kept
by every rewrap and authenticated by each. A session that is deleted and created again has a new data key with a new id,
so no old cell opens in it.

Nonces are random. A data key seals only its session's cells, and a key of the keyring only data keys, so both stay far
below the 2**32 messages up to which random 96-bit nonces are safe.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sessions_server.domain.errors import DataCorrupted
from sessions_server.security.keyring import KEY_BYTES, Keyring

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cell

_FORMAT: Final = 1
_FORMAT_BYTE: Final = bytes([_FORMAT])
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_DATA_KEY_ID_BYTES: Final = 16
_CELL_PREFIX_BYTES: Final = 1 + _NONCE_BYTES
_WRAPPED: Final = Struct(f">BI{_DATA_KEY_ID_BYTES}s{_NONCE_BYTES}s{KEY_BYTES + _TAG_BYTES}s")
_WRAPPING: Final = Struct(">BI")
_CACHED_DATA_KEYS: Final = 4096


class _Wrapped(NamedTuple):
    key_id: int
    data_key_id: bytes
    nonce: bytes
    encrypted: bytes


class _DataKey(NamedTuple):
    id: bytes
    cipher: AESGCM


class KeyringCells:
    """Cells under a keyring that is loaded at each use, so that rotation takes effect at once."""

    def __init__(self, keyring: Callable[[], Keyring], *, cached_keys: int = _CACHED_DATA_KEYS) -> None:
        self._keyring = keyring
        # The cache key includes the keyring and the session, so the cache never returns a data key whose wrapping key
        # was removed, or that of another session.
        self._data_key = lru_cache(maxsize=cached_keys)(_data_key)

    def keyring(self) -> object:
        return self._keyring()

    def new_key(self, tenant: str, session_id: str) -> bytes:
        secret = AESGCM.generate_key(bit_length=8 * KEY_BYTES)
        return _wrap(self._keyring(), tenant, session_id, os.urandom(_DATA_KEY_ID_BYTES), secret)

    def seal(self, wrapped: bytes, cell: Cell, plaintext: bytes) -> bytes:
        key = self._data_key(self._keyring(), cell.tenant, cell.session_id, wrapped)
        nonce = os.urandom(_NONCE_BYTES)
        return _FORMAT_BYTE + nonce + key.cipher.encrypt(nonce, plaintext, _cell_place(cell, key.id))

    def open(self, wrapped: bytes, cell: Cell, sealed: bytes) -> bytes:
        key = self._data_key(self._keyring(), cell.tenant, cell.session_id, wrapped)
        if len(sealed) < _CELL_PREFIX_BYTES + _TAG_BYTES or sealed[0] != _FORMAT:
            raise _corrupted_cell()
        nonce, encrypted = sealed[1:_CELL_PREFIX_BYTES], sealed[_CELL_PREFIX_BYTES:]
        try:
            return key.cipher.decrypt(nonce, encrypted, _cell_place(cell, key.id))
        except InvalidTag:
            raise _corrupted_cell() from None

    def rewrap(self, tenant: str, session_id: str, wrapped: bytes) -> bytes | None:
        keyring, parsed = self._keyring(), _parse(wrapped)
        # Unwrapped even if the number is current: in a different keyring the current key may have the same number.
        secret = _unwrap(keyring, tenant, session_id, parsed)
        if parsed.key_id == keyring.current:
            return None
        return _wrap(keyring, tenant, session_id, parsed.data_key_id, secret)


def wrapping_key(wrapped: bytes) -> int:
    """The number of the key that wrapped a data key; a prefix of the data key is enough. Raises DataCorrupted."""
    if len(wrapped) < _WRAPPING.size or wrapped[0] != _FORMAT:
        raise _corrupted_key()
    number: int = _WRAPPING.unpack_from(wrapped)[1]
    return number


def _data_key(keyring: Keyring, tenant: str, session_id: str, wrapped: bytes) -> _DataKey:
    parsed = _parse(wrapped)
    return _DataKey(parsed.data_key_id, AESGCM(_unwrap(keyring, tenant, session_id, parsed)))


def _parse(wrapped: bytes) -> _Wrapped:
    if len(wrapped) != _WRAPPED.size or wrapped[0] != _FORMAT:
        raise _corrupted_key()
    _, *fields = _WRAPPED.unpack(wrapped)
    return _Wrapped(*fields)


def _wrap(keyring: Keyring, tenant: str, session_id: str, data_key_id: bytes, secret: bytes) -> bytes:
    key_id, nonce = keyring.current, os.urandom(_NONCE_BYTES)
    place = _wrap_place(tenant, session_id, key_id, data_key_id)
    encrypted = keyring.cipher(key_id).encrypt(nonce, secret, place)
    return _WRAPPED.pack(_FORMAT, key_id, data_key_id, nonce, encrypted)


def _unwrap(keyring: Keyring, tenant: str, session_id: str, wrapped: _Wrapped) -> bytes:
    place = _wrap_place(tenant, session_id, wrapped.key_id, wrapped.data_key_id)
    try:
        return keyring.cipher(wrapped.key_id).decrypt(wrapped.nonce, wrapped.encrypted, place)
    except InvalidTag:
        raise DataCorrupted(
            f"This session's data key does not open with key {wrapped.key_id} of the keyring: it was altered "
            "or moved, or the keyring is not the one it was made with. Nothing was changed; restore the "
            "keyring or the database from a backup.",
            key_id=str(wrapped.key_id),
        ) from None


def _wrap_place(tenant: str, session_id: str, key_id: int, data_key_id: bytes) -> bytes:
    return _bound(b"data key", tenant.encode(), session_id.encode(), b"%d" % key_id, data_key_id)


def _cell_place(cell: Cell, data_key_id: bytes) -> bytes:
    tenant, session_id, column, row = cell
    return _bound(b"cell", tenant.encode(), session_id.encode(), column.encode(), row.encode(), data_key_id)


def _bound(*parts: bytes) -> bytes:
    """The format followed by the length-prefixed parts, so that no two lists of parts give the same bytes."""
    return _FORMAT_BYTE + b"".join([len(part).to_bytes(4, "big") + part for part in parts])


def _corrupted_key() -> DataCorrupted:
    return DataCorrupted(
        "This session's data key is damaged, or a newer release wrote it; nothing was changed. "
        "Restore the database from a backup, or upgrade the server."
    )


def _corrupted_cell() -> DataCorrupted:
    return DataCorrupted(
        "Stored data of this session does not authenticate: it was altered, moved or sealed with another "
        "key. Nothing was changed; restore the database from a backup."
    )
