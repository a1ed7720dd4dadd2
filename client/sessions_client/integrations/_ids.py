"""Maps ids of frameworks, which may be any string, to ids of sessions, messages and users."""

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
    """A session or message id for any string: the string itself if it is a valid id, else an encoding that starts with
    `~`.

    Different strings never share an id, barring a collision of SHA-256 among those longer than 95 bytes.
    """
    if _PLAIN.fullmatch(text):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    encoded = base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
    if len(encoded) <= _LONGEST_ENCODED - 1:
        return f"~{encoded}"
    return f"~~{hashlib.sha256(raw).hexdigest()}"


def user_id_of(text: str) -> str:
    """A user id for any string."""
    return text if _USER.fullmatch(text) else session_id_of(text)


def metadata_of(text: str) -> dict[str, Any]:
    """The metadata of the string's session: empty, or the string as JSON if it is not the id itself."""
    return {} if session_id_of(text) == text else {_METADATA_KEY: json.dumps(text)}


def text_of(session_id: str, metadata: Mapping[str, Any] | None = None) -> str | None:
    """The string from which `session_id_of` made the id; None if only the session's metadata has it."""
    if not session_id.startswith("~"):
        return session_id
    if session_id.startswith("~~"):
        stored = (metadata or {}).get(_METADATA_KEY)
        return None if stored is None else str(json.loads(stored))
    encoded = session_id[1:]
    raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    return raw.decode("utf-8", "surrogatepass")


def part(text: str) -> str:
    """A string as one part of a collection's path, which has 1 to 256 characters without NUL."""
    return f"={text}" if len(text) < 256 and _is_clean(text) else f"#{_digest(text)}"


def key_of(text: str) -> str:
    """A string as a key, which has at most 1,024 bytes without NUL."""
    return text if _is_clean(text) and len(text.encode()) <= 1_000 else f"#{_digest(text)}"


def _is_clean(text: str) -> bool:
    return "\0" not in text and text.isprintable()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
