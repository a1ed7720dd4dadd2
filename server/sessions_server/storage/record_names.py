"""The stored form of record names: strings that sort by code point, component by component of a collection's path.

Each component ends with U+0001, which sorts before every other character; within a component, U+0001 and U+0002 are
escaped. So nested collections are those whose encoding starts with that of the outer one. PostgreSQL's index entries
are limited to 2,704 bytes: https://www.postgresql.org/docs/current/btree.html. A longer encoding is stored as a prefix
and a digest, together with the whole.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_END: Final = "\x01"
_ESCAPE: Final = "\x02"
_ESCAPED_END: Final = _ESCAPE + "\x02"
_ESCAPED_ESCAPE: Final = _ESCAPE + "\x03"

_LONGEST: Final = 384
"""The maximum length of an encoding that is stored unchanged, in bytes of UTF-8."""
_KEPT: Final = 320
"""The length of the prefix of a longer one."""

_LAST: Final = "\U0010ffff"
_BEFORE_SURROGATES: Final = 0xD7FF
_AFTER_SURROGATES: Final = 0xE000


class StoredCollection(NamedTuple):
    short: str
    """The indexed form: unique, and ordered like the paths."""
    full: str | None
    """The whole encoding if `short` is cut."""


END: Final = _LAST * 257
"""Sorts after every stored collection and key."""


class Bounds(NamedTuple):
    low: str
    """Included."""
    high: str
    """Excluded."""


def encode(path: Iterable[str]) -> str:
    return "".join(part.replace(_ESCAPE, _ESCAPED_ESCAPE).replace(_END, _ESCAPED_END) + _END for part in path)


def decode(encoded: str) -> tuple[str, ...]:
    parts = encoded.split(_END)[:-1]
    if _ESCAPE not in encoded:
        return tuple(parts)
    return tuple(part.replace(_ESCAPED_END, _END).replace(_ESCAPED_ESCAPE, _ESCAPE) for part in parts)


@lru_cache(maxsize=256)  # the records of one program are in few collections
def stored_collection(path: tuple[str, ...]) -> StoredCollection:
    encoded = encode(path)
    raw = encoded.encode()
    if len(raw) <= _LONGEST:
        return StoredCollection(encoded, None)
    digest = hashlib.blake2b(raw, digest_size=16).hexdigest()
    return StoredCollection(_cut(raw) + digest, encoded)


def path_of(short: str, full: str | None) -> tuple[str, ...]:
    return _decode_short(short) if full is None else decode(full)


_decode_short: Final = lru_cache(maxsize=1_024)(decode)
"""The records of a list are in few collections."""


def within(path: Iterable[str]) -> Bounds:
    """The bounds of the short forms of a collection and those nested in it. For a long path they may include others."""
    raw = encode(path).encode()
    return beginning_with(_cut(raw))


def is_exact(path: Iterable[str]) -> bool:
    """Whether the bounds of `within` include nothing else."""
    return len(encode(path).encode()) <= _KEPT


def beginning_with(prefix: str) -> Bounds:
    """The bounds of the strings that start with a prefix."""
    kept = prefix.rstrip(_LAST)
    if not kept:
        return Bounds(prefix, END)
    last = ord(kept[-1])
    following = _AFTER_SURROGATES if last == _BEFORE_SURROGATES else last + 1
    return Bounds(prefix, kept[:-1] + chr(following))


def successor(name: str) -> str:
    """The first name that can follow: no name contains U+0000."""
    return name + _END


def between(prefix: str, after: str, before: str) -> Bounds:
    """The bounds of the keys that start with a prefix and are between two keys; empty for any."""
    low, high = beginning_with(prefix)
    return Bounds(max(low, successor(after)) if after else low, min(high, before) if before else high)


def name_hash(short: str, key: str) -> bytes:
    """Distinguishes records of one scope in few bytes."""
    return hashlib.blake2b(key.encode(), key=hashlib.sha256(short.encode()).digest(), digest_size=16).digest()


def _cut(raw: bytes) -> str:
    return raw[:_KEPT].decode(errors="ignore")
