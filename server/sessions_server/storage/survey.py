"""What a survey asks, in SQL that both databases understand."""

from __future__ import annotations

from typing import Final

from sessions_server.storage.migrations import VERSION_TABLE

SCHEMA: Final = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  # our own name

WRAPPINGS: Final = "SELECT DISTINCT substr(data_key, 1, 5) FROM sessions WHERE data_key IS NOT NULL"
SHARED_WRAPPINGS: Final = "SELECT DISTINCT substr(data_key, 1, 5) FROM shared_keys"
"""A wrapped data key begins with a byte for its form and four for the number of the key that wrapped it."""

WITH_SHARED: Final = "0003"
"""The migration that made the table of shared keys."""
