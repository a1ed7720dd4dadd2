"""A cache of the records that lists have recently returned, so that those that are listed again are parsed once.

A record is looked up by its exact stored row, so a stale one is never found. Encrypted records are not cached, because
their keys may leave the keyring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sessions_server.domain.errors import DataCorrupted
from sessions_server.domain.recent import Recent
from sessions_server.storage.record_owners import FOUND_WIDTH
from sessions_server.storage.record_rows import RECORD_WIDTH, record_from_row

if TYPE_CHECKING:
    from sessions_server.domain.records import Record
    from sessions_server.storage.rules import Rules
    from sessions_server.storage.statements import Row

GENERATION_BYTES: Final = 4 * 1024 * 1024

_SMALL: Final = 1_500
"""The approximate memory of a record and its row, besides the value."""

_RECENT: Final = Recent["Row", "Record"](GENERATION_BYTES)


def read_small(row: Row, rules: Rules) -> Record | None:
    """The record in a row of a list; None if it is encrypted or damaged, or if its value was not read."""
    record = _RECENT.find(row)
    if record is not None:
        return record
    is_sealed, _, value = row[RECORD_WIDTH - 1 : FOUND_WIDTH]
    if is_sealed or value is None:
        return None
    try:
        record = record_from_row(row, value, rules.cells, None)
    except DataCorrupted:
        return None
    _RECENT.keep(row, record, _SMALL + len(value))
    return record
