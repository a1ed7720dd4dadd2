"""What types of values rows hold. SQLite takes any value in any column, so a damaged one may be of another type."""

from __future__ import annotations

from operator import contains
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence as Seq

_JSON: Final[set[type]] = {str, bytes, NoneType}
"""What `json_text` reads; its decoders say the rest."""


class Kinds:
    """The types that rows with these columns hold."""

    def __init__(self, columns: Iterable[sa.ColumnElement[Any]]) -> None:
        self._known = [_types_of(column) for column in columns]
        self._sound: set[tuple[type, ...]] = set()
        """Of rows that were found sound; there are few combinations."""

    def check(self, row: Seq[Any]) -> None:
        """Raises TypeError for a row with a value that its column never holds."""
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
