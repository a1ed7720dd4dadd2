"""A cache of recently read messages of histories, so that those that an agent reads at every turn are parsed once.

A message is looked up by its exact stored row, so a stale one is never found. Messages of encrypted sessions are not
cached, because their keys may leave the keyring.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import TYPE_CHECKING, Any, Final

from sessions_server.domain.recent import Recent

if TYPE_CHECKING:
    from sessions_server.domain.models import Message
    from sessions_server.storage.content import Content

LARGEST_BYTES: Final = 4 * 1024
"""Messages with a larger payload are not cached."""

GENERATION_BYTES: Final = 4 * 1024 * 1024

_GROWTH: Final = 3
"""The memory of a message and its row relative to the stored payload, besides a constant."""

_MESSAGE_BYTES: Final = 350
"""The constant."""

_RECENT: Final = Recent[tuple[Any, ...], "Message"](GENERATION_BYTES)


def read_messages(content: Content, rows: Seq[Any]) -> list[Message]:
    """From rows of what `Content.message` takes. Raises its errors."""
    if content.data_key is not None:
        return [content.message(*row) for row in rows]
    return [_RECENT.find(key) or _read(content, key) for key in map(tuple, rows)]


def _read(content: Content, row: tuple[Any, ...]) -> Message:
    message = content.message(*row)
    size = len(row[-1])
    if size <= LARGEST_BYTES:
        _RECENT.keep(row, message, _MESSAGE_BYTES + _GROWTH * size)
    return message
