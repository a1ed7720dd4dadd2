"""The queries of a survey, in SQL that both databases understand."""

from __future__ import annotations

from typing import Final

from sessions_server.storage.migrations import VERSION_TABLE

SCHEMA: Final = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  # our own name

WRAPPINGS: Final = "SELECT DISTINCT substr(data_key, 1, 5) FROM sessions WHERE data_key IS NOT NULL"
SHARED_WRAPPINGS: Final = "SELECT DISTINCT substr(data_key, 1, 5) FROM shared_keys"
"""A wrapped data key starts with a format byte and the four-byte number of its wrapping key."""

WITH_SHARED: Final = "0003"
"""The migration that created the table of shared keys."""
