"""Ids of frameworks, which may be any text, as ids of sessions, messages and users."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9._:@-][A-Za-z0-9._~:@-]{0,127}")
_LONGEST_ENCODED: Final = 127
_METADATA_KEY: Final = "framework_id"
_USER: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,256}")


def session_id_of(text: str) -> str:
    """A session or message id for any text: the text itself where it is one, else an encoding that begins with `~`.

    Two texts never share an id, but for a collision of SHA-256 among those of more than 95 bytes.
    """
    if _PLAIN.fullmatch(text):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    encoded = base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
    if len(encoded) <= _LONGEST_ENCODED - 1:
        return f"~{encoded}"
    return f"~~{hashlib.sha256(raw).hexdigest()}"


def user_id_of(text: str) -> str:
    """A user id for any text."""
    return text if _USER.fullmatch(text) else session_id_of(text)


def metadata_of(text: str) -> dict[str, Any]:
    """The metadata of the session of this text: empty, or the text as JSON where the id is not the text itself."""
    return {} if session_id_of(text) == text else {_METADATA_KEY: json.dumps(text)}


def text_of(session_id: str, metadata: Mapping[str, Any] | None = None) -> str | None:
    """The text that `session_id_of` made the id of; None when only the session's metadata can tell."""
    if not session_id.startswith("~"):
        return session_id
    if session_id.startswith("~~"):
        stored = (metadata or {}).get(_METADATA_KEY)
        return None if stored is None else str(json.loads(stored))
    encoded = session_id[1:]
    raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    return raw.decode("utf-8", "surrogatepass")


def part(text: str) -> str:
    """A text as one part of a collection's path, which has 1 to 256 characters and no NUL."""
    return f"={text}" if len(text) < 256 and _is_clean(text) else f"#{_digest(text)}"


def key_of(text: str) -> str:
    """A text as a key, which has 1,024 bytes at most and no NUL."""
    return text if _is_clean(text) and len(text.encode()) <= 1_000 else f"#{_digest(text)}"


def _is_clean(text: str) -> bool:
    return "\0" not in text and text.isprintable()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
