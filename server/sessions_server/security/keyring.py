"""The keyring: numbered keys in a private file, one of them current.

New data keys are wrapped by the current key. Older keys stay, since data keys that they wrapped may still be stored.
Key material is only in the file and in the ciphers: no error, list or `repr` shows it. The file is JSON:

    {
      "version": 1,
      "current": 2,
      "keys": [
        {"id": 1, "created": "2026-01-31T09:00:00+00:00", "key": "<32 bytes in base64>"},
        {"id": 2, "created": "2027-01-31T09:00:00+00:00", "key": "<32 bytes in base64>"}
      ]
    }

A running server loads a rotated file within about a second. Back up the file after each rotation: data encrypted with
its keys cannot be read without them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sessions_server.domain.errors import KeyNotAvailable, SetupError
from sessions_server.security.files import (
    READ_OR_WRITTEN_BY_OTHERS,
    create_private,
    read_guarded,
    rewrite_private,
)

if TYPE_CHECKING:
    from pathlib import Path

KEY_BYTES: Final = 32
MAX_KEY_ID: Final = 2**32 - 1
"""A wrapped data key names its key in four bytes."""

_FILE_VERSION: Final = 1


class KeyInfo(NamedTuple):
    """What may be shown about a key."""

    id: int
    created: datetime
    current: bool


@dataclass(frozen=True, slots=True)
class Key:
    id: int
    created: datetime
    secret: bytes = field(repr=False)


class Keyring:
    """The keys of one version of the file. Immutable; equal only to itself."""

    def __init__(self, keys: Sequence[Key], *, current: int) -> None:
        self.current: Final = current
        self._infos = tuple(KeyInfo(key.id, key.created, key.id == current) for key in keys)
        self._ciphers = {key.id: AESGCM(key.secret) for key in keys}

    def __repr__(self) -> str:
        return f"Keyring(ids={[info.id for info in self._infos]}, current={self.current})"

    def infos(self) -> tuple[KeyInfo, ...]:
        """Every key without its material, in file order."""
        return self._infos

    def cipher(self, key_id: int) -> AESGCM:
        """The cipher that wraps data keys with this key. Raises KeyNotAvailable."""
        try:
            return self._ciphers[key_id]
        except KeyError:
            raise KeyNotAvailable(
                f"The server's keyring lacks key {key_id}, which this session's data needs; "
                "put that key back into the keyring, then try again.",
                key_id=str(key_id),
            ) from None


def create_keyring(path: Path, *, now: datetime) -> Keyring:
    """Writes a keyring with one new key. Never overwrites a file. Raises SetupError."""
    key = _fresh_key(1, now)
    create_private(path, _serialise([key], current=key.id))
    return load_keyring(path)


def load_keyring(path: Path) -> Keyring:
    """Raises SetupError, with a sentence that says what to do."""
    content = read_guarded(path, refused_mode=READ_OR_WRITTEN_BY_OTHERS, absent=_absent(path))
    keys, current = _parse(path, content)
    return Keyring(keys, current=current)


def rotate_keyring(path: Path, *, now: datetime) -> Keyring:
    """Adds a new key and makes it current; every older key stays. Raises SetupError."""

    def add_key(content: bytes) -> bytes:
        keys, _ = _parse(path, content)
        fresh = _fresh_key(max(key.id for key in keys) + 1, now)
        return _serialise([*keys, fresh], current=fresh.id)

    rewrite_private(path, add_key, absent=_absent(path))
    return load_keyring(path)


def _fresh_key(key_id: int, now: datetime) -> Key:
    return Key(key_id, now, AESGCM.generate_key(bit_length=8 * KEY_BYTES))


def _serialise(keys: Sequence[Key], *, current: int) -> bytes:
    entries = [
        {
            "id": key.id,
            "created": key.created.isoformat(timespec="seconds"),
            "key": base64.b64encode(key.secret).decode("ascii"),
        }
        for key in keys
    ]
    document = {"version": _FILE_VERSION, "current": current, "keys": entries}
    return json.dumps(document, indent=2).encode("ascii") + b"\n"


def _parse(path: Path, content: bytes) -> tuple[list[Key], int]:
    try:
        return _read_document(json.loads(content))
    except (ValueError, RecursionError) as exc:
        # A parser's own error would include the text it read, which is key material.
        problem = str(exc) if isinstance(exc, _Malformed) else "it is not JSON"
    raise SetupError(
        f"{path} is not a keyring that this server can use: {problem}. Restore it from its backup; "
        "a new keyring cannot read what the old one encrypted."
    )


class _Malformed(ValueError):
    """What is wrong with the keyring file, without any of its values."""


def _read_document(document: Any) -> tuple[list[Key], int]:
    if not isinstance(document, dict):
        raise _Malformed("it is not a JSON object")
    if document.get("version") != _FILE_VERSION:
        raise _Malformed(f'its "version" is not {_FILE_VERSION}, so a newer release may have made it')
    entries = document.get("keys")
    if not isinstance(entries, list) or not entries:
        raise _Malformed('its "keys" are not a list of at least one key')
    keys = [_read_key(entry, f"key number {place} of the list") for place, entry in enumerate(entries, 1)]
    ids = {key.id for key in keys}
    if len(ids) < len(keys):
        raise _Malformed("two of its keys have the same id")
    current = document.get("current")
    if type(current) is not int or current not in ids:
        raise _Malformed('its "current" is not the id of one of its keys')
    return keys, current


def _read_key(entry: Any, place: str) -> Key:
    if not isinstance(entry, dict):
        raise _Malformed(f"{place} is not an object")
    key_id = entry.get("id")
    if type(key_id) is not int or not 1 <= key_id <= MAX_KEY_ID:
        raise _Malformed(f'the "id" of {place} is not a positive integer of at most 32 bits')
    return Key(key_id, _read_time(entry.get("created"), place), _read_secret(entry.get("key"), place))


def _read_time(text: Any, place: str) -> datetime:
    try:
        created = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        created = None
    if created is None or created.tzinfo is None:
        raise _Malformed(f'the "created" of {place} is not a time with its offset')
    return created


def _read_secret(text: Any, place: str) -> bytes:
    try:
        secret = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise _Malformed(f'the "key" of {place} is not {KEY_BYTES} bytes in base64')
    return secret


def _absent(path: Path) -> str:
    command = f"sessions-server keyring new {path}"
    return f"There is no keyring at {path}; correct the path, or make one with `{command}`."
