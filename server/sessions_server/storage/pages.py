"""Pages of log rows: as many as fit, whatever their size."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from sessions_server.domain.sizes import fitting
from sessions_server.storage.lookup import Lookup, Range
from sessions_server.storage.schema import log

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.rules import Rules

_FEW: Final = 32
"""This many rows are read whatever their size."""


class Pages:
    """For each range, as many rows as fit into a page, and one more if there is one."""

    def __init__(self, columns: Seq[sa.ColumnElement[Any]], **order: bool) -> None:
        self._rows = Lookup(columns, **order)
        large = (column for column in columns if isinstance(column.type, sa.LargeBinary))
        sizes = (sa.func.coalesce(sa.func.length(column), 0) for column in large)
        self._sizes = Lookup((log.c.sequence, *sizes), **order)

    def rows(self, connection: Connection, ranges: Seq[Range], *, rules: Rules) -> list[list[Any]]:
        laterally = rules.backend.joins_laterally
        wanted = list(ranges)
        # A page of large messages may be a thousandth of the requested number, so not all of them are read.
        many = [number for number, each in enumerate(ranges) if each.most > _FEW]
        sizes = self._sizes.rows(connection, [ranges[number] for number in many], laterally=laterally)
        for number, found in zip(many, sizes, strict=True):
            fit = fitting((sum(sizes) for _, *sizes in found), rules.limits.page_bytes)
            wanted[number] = ranges[number]._replace(most=min(ranges[number].most, fit + 1))
        return self._rows.rows(connection, wanted, laterally=laterally)


def fitting_rows(rows: list[Any], page_bytes: int) -> int:
    """How many rows fit together, by their stored size."""
    return fitting(
        (sum(len(each) for each in row[-2:] if isinstance(each, bytes)) for row in rows), page_bytes
    )
