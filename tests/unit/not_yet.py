"""What the protos have and the code does not convert yet. A change that converts something takes it out of here."""

from __future__ import annotations

FIELDS: dict[str, set[str]] = {}
"""Fields by message, on the server."""
