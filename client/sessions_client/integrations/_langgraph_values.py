"""Storage of a checkpoint's values: small ones in its record, larger ones once per thread, by their hash.

A value that did not change between checkpoints is neither stored nor sent again. A value above the limit of a record is
split into several.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sessions_client import RecordName, Scope, ops

ROOT: Final = "langgraph"
BLOBS: Final = (ROOT, "blobs")

INLINE_BYTES: Final = 2 * 1024
PIECE_BYTES: Final = 2 * 1024 * 1024
COMMIT_BYTES: Final = 3 * 1024 * 1024
COMMIT_OPERATIONS: Final = 4_000


class Gone(Exception):
    """A larger value was deleted after the record that references it was read."""


@dataclass(frozen=True, slots=True)
class Value:
    """A serialized value: its type, and either the bytes or a reference."""

    type: str
    inline: bytes | None = None
    digest: str = ""
    pieces: int = 0

    def packed(self) -> list[Any]:
        """The stored form."""
        return [self.type, self.inline, self.digest, self.pieces]

    @classmethod
    def unpacked(cls, packed: list[Any]) -> Value:
        """Restores what `packed` returned."""
        return cls(*packed)

    def names(self, session_id: str) -> list[RecordName]:
        """The records that contain its bytes; none if they are inline."""
        return [blob_name(session_id, self.digest, number) for number in range(self.pieces)]

    def bytes(self, session_id: str, blobs: Mapping[RecordName, bytes]) -> bytes:
        """Its bytes. Raises Gone if one of its records was deleted."""
        if self.inline is not None:
            return self.inline
        names = self.names(session_id)
        if any(name not in blobs for name in names):
            raise Gone
        return b"".join(blobs[name] for name in names)


@dataclass(slots=True)
class Blobs:
    """The larger values of one write: those to put, and those expected to exist."""

    session_id: str
    puts: dict[RecordName, bytes] = field(default_factory=dict)
    present: dict[RecordName, bytes] = field(default_factory=dict)

    def hold(self, typed: tuple[str, bytes], *, inline: int, is_new: bool = True) -> Value:
        """Adds a value, inline up to this many bytes. A value that is not new is expected to exist."""
        kind, raw = typed
        if len(raw) <= inline:
            return Value(kind, raw)
        digest = hashlib.sha256(raw).hexdigest()
        pieces = [raw[start : start + PIECE_BYTES] for start in range(0, len(raw), PIECE_BYTES)]
        kept = self.puts if is_new else self.present
        kept.update(
            {blob_name(self.session_id, digest, number): piece for number, piece in enumerate(pieces)}
        )
        return Value(kind, None, digest, len(pieces))

    def expect_nothing(self) -> None:
        """Sends the values that were expected to exist as well."""
        self.puts = {**self.present, **self.puts}
        self.present = {}


def blob_name(session_id: str, digest: str, number: int) -> RecordName:
    """The record name of one piece of a larger value."""
    return RecordName(Scope(session_id=session_id), BLOBS, f"{digest}/{number:06}")


def in_commits(operations: Iterable[tuple[ops.Operation, int]]) -> Iterator[list[ops.Operation]]:
    """Groups operations, given with their sizes, so that each group fits into one commit."""
    group: list[ops.Operation] = []
    size = 0
    for operation, its_size in operations:
        if group and (size + its_size > COMMIT_BYTES or len(group) == COMMIT_OPERATIONS):
            yield group
            group, size = [], 0
        group.append(operation)
        size += its_size
    if group:
        yield group


def committing(session_id: str | None, operations: Sequence[ops.Operation], **more: Any) -> Any:
    """The call that commits operations."""
    return lambda client: client.sessions.commit(session_id, *operations, **more)
