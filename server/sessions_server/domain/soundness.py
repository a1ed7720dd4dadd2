"""What makes a message valid, wherever it comes from: a call, an import, a dump or the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sessions_server.domain.errors import Violation
from sessions_server.domain.models import BODY_TEXTS

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.models import MessageBody

ROLE_CHARACTERS: Final = 64
TEXT_CHARACTERS: Final = 256
"""The most characters of a string that has no limit of its own."""


def body_faults(body: MessageBody) -> Iterator[Violation]:
    """What is wrong with a message's body, by field name."""
    if not body.role and body.data is None and not body.payload:
        yield Violation("role", f"Must be 1 to {ROLE_CHARACTERS} characters, such as `user`.")
    if body.payload_type and not body.payload:
        yield Violation("payload_type", "Must be empty without a payload.")
    for field, most in _CHARACTERS.items():
        if len(getattr(body, field)) > most:
            yield Violation(field, f"Must be at most {most:,} characters.")


def body_excess(body: MessageBody, limits: Limits) -> Iterator[Violation]:
    """The fields of a message's body that are too long. JSON is measured where it is read."""
    content, most = body.content, limits.content_bytes
    # A character takes at most four bytes.
    if len(content) * 4 > most and len(content.encode()) > most:
        yield Violation("content", f"Must be at most {most:,} bytes of UTF-8.")
    if len(body.payload) > limits.payload_bytes:
        yield Violation("payload", f"Must be at most {limits.payload_bytes:,} bytes.")


_CHARACTERS: Final = {
    **{name: TEXT_CHARACTERS for name in BODY_TEXTS if name != "content"},
    "role": ROLE_CHARACTERS,
}
