"""How the names of records are stored: as strings that sort by code point, string by string of a collection's path.

Each string of a path ends with U+0001, which sorts before every other character; within a string, U+0001 and U+0002
are escaped. So the collections within another one are those whose encoding begins with its encoding. PostgreSQL's
indexes hold entries of at most 2,704 bytes: https://www.postgresql.org/docs/current/btree.html. A collection whose
encoding is too long for that is stored as its beginning and a digest, with the whole beside it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_END: Final = "\x01"
_ESCAPE: Final = "\x02"
_ESCAPED_END: Final = _ESCAPE + "\x02"
_ESCAPED_ESCAPE: Final = _ESCAPE + "\x03"

_LONGEST: Final = 384
"""Bytes of UTF-8 that an encoding may have to be stored as it is."""
_KEPT: Final = 320
"""Bytes of UTF-8 that are kept of a longer one."""

_LAST: Final = "\U0010ffff"
_BEFORE_SURROGATES: Final = 0xD7FF
_AFTER_SURROGATES: Final = 0xE000


class StoredCollection(NamedTuple):
    short: str
    """What indexes hold: unique, and in the order of the paths."""
    full: str | None
    """The whole encoding where `short` is cut."""


END: Final = _LAST * 257
"""After every stored collection and key."""


class Bounds(NamedTuple):
    low: str
    """Included."""
    high: str
    """Excluded."""


def encode(path: Iterable[str]) -> str:
    return "".join(part.replace(_ESCAPE, _ESCAPED_ESCAPE).replace(_END, _ESCAPED_END) + _END for part in path)


def decode(encoded: str) -> tuple[str, ...]:
    parts = encoded.split(_END)[:-1]
    return tuple(part.replace(_ESCAPED_END, _END).replace(_ESCAPED_ESCAPE, _ESCAPE) for part in parts)


def stored_collection(path: Iterable[str]) -> StoredCollection:
    encoded = encode(path)
    raw = encoded.encode()
    if len(raw) <= _LONGEST:
        return StoredCollection(encoded, None)
    digest = hashlib.blake2b(raw, digest_size=16).hexdigest()
    return StoredCollection(_cut(raw) + digest, encoded)


def path_of(short: str, full: str | None) -> tuple[str, ...]:
    return decode(short if full is None else full)


def within(path: Iterable[str]) -> Bounds:
    """Where the short forms of a collection and of those within it are. Of a long path, others may be there too."""
    raw = encode(path).encode()
    return beginning_with(_cut(raw))


def is_exact(path: Iterable[str]) -> bool:
    """Whether there is nothing else within the bounds of `within`."""
    return len(encode(path).encode()) <= _KEPT


def beginning_with(prefix: str) -> Bounds:
    """Where the strings are that begin with a prefix."""
    kept = prefix.rstrip(_LAST)
    if not kept:
        return Bounds(prefix, END)
    last = ord(kept[-1])
    following = _AFTER_SURROGATES if last == _BEFORE_SURROGATES else last + 1
    return Bounds(prefix, kept[:-1] + chr(following))


def successor(name: str) -> str:
    """The first name that can follow: none has U+0000."""
    return name + _END


def between(prefix: str, after: str, before: str) -> Bounds:
    """Where the keys are that begin with a prefix and are after one key and before another; empty: any."""
    low, high = beginning_with(prefix)
    return Bounds(max(low, successor(after)) if after else low, min(high, before) if before else high)


def name_hash(short: str, key: str) -> bytes:
    """Tells records of one scope apart in few bytes."""
    return hashlib.blake2b(key.encode(), key=hashlib.sha256(short.encode()).digest(), digest_size=16).digest()


def _cut(raw: bytes) -> str:
    return raw[:_KEPT].decode(errors="ignore")
