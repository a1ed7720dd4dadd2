"""The text that every measurement stores, also in the libraries' environments, where none of our packages is
installed."""

from __future__ import annotations

from typing import Final

ROLE: Final = "user"

_TEXT: Final = (
    "Please compare the three offers that we spoke about yesterday, and tell me which of them keeps the earlier "
    "delivery date. If none does, ask the second supplier once more, and note the answer in the shared context. "
)

CONTENT: Final = (_TEXT * 2)[:299]
"""With its role and as protobuf, this makes a message of 308 bytes."""
