"""The types of values in rows. SQLite accepts any value in any column, so a damaged one may have another type."""

from __future__ import annotations

from operator import contains
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence as Seq

_JSON: Final[set[type]] = {str, bytes, NoneType}
"""The types that `json_text` can read; its decoders check the rest."""


class Kinds:
    """The types in rows with these columns."""

    def __init__(self, columns: Iterable[sa.ColumnElement[Any]]) -> None:
        self._known = [_types_of(column) for column in columns]
        self._sound: set[tuple[type, ...]] = set()
        """The type combinations of valid rows; there are few."""

    def check(self, row: Seq[Any]) -> None:
        """Raises TypeError if a row has a value that its column never has."""
        types = tuple(map(type, row))
        if types in self._sound:
            return
        if len(types) != len(self._known) or not all(map(contains, self._known, types)):
            raise TypeError("a value of another type is stored here")
        self._sound.add(types)


def _types_of(column: sa.ColumnElement[Any]) -> set[type]:
    if not isinstance(column, sa.Column):
        return _JSON
    held: type = column.type.python_type
    return {held, NoneType} if column.nullable else {held}
