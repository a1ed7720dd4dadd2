"""How results are shown: as a table for people, or in one of four forms for programs. Keys are those of the protos."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

from sessions_cli.exits import USAGE, Failed

Row = Mapping[str, Any]

SESSION: Final = ("id", "user_id", "state", "message_count", "update_time", "metadata")
MESSAGE: Final = ("sequence", "role", "name", "content", "create_time")

ID_COLUMNS: Final = 40
"""How wide the column of an id may get before the id is broken."""

ABSENT: Final = object()


class Format(StrEnum):
    """The forms of output. Default: a table on a terminal, JSON lines elsewhere."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    YAML = "yaml"
    ID = "id"


class Printer:
    """Prints rows in one form, each as soon as it arrives if the form allows that."""

    def __init__(self, form: Format | None, fields: str | None) -> None:
        self.form = form or (Format.TABLE if sys.stdout.isatty() else Format.JSONL)
        self._fields = tuple(each.strip() for each in fields.split(",")) if fields else ()

    def many(self, rows: Iterable[Row], *, columns: tuple[str, ...], empty: str) -> None:
        """Prints a list; `empty` is shown to people if it has no items."""
        match self.form:
            case Format.TABLE:
                self._table(list(rows), columns, empty)
            case Format.JSON:
                _write(_json([self._chosen(row) for row in rows], indent=2))
            case Format.YAML:
                _write(_yaml([self._chosen(row) for row in rows]))
            case _:
                for row in rows:
                    self.line(row)

    def one(self, row: Row) -> None:
        """Prints a single object."""
        match self.form:
            case Format.TABLE:
                self._properties(self._chosen(row))
            case Format.JSON:
                _write(_json(self._chosen(row), indent=2))
            case Format.YAML:
                _write(_yaml(self._chosen(row)))
            case _:
                self.line(row)

    def line(self, row: Row) -> None:
        """Prints one object of a series."""
        if self.form is Format.ID:
            key = next((each for each in ("id", "sequence", "message_id") if each in row), None)
            if key is None:
                raise Failed("This has no id to show; use another form of output.", exit_code=USAGE)
            _write(f"{row[key]}\n")
        elif self.form is Format.YAML:
            _write("---\n" + _yaml(self._chosen(row)))
        else:
            _write(_json(self._chosen(row)))

    def _chosen(self, row: Row) -> Any:
        if not self._fields:
            return row
        return {name: None if (found := value_at(row, name)) is ABSENT else found for name in self._fields}

    def _table(self, rows: list[Row], columns: tuple[str, ...], empty: str) -> None:
        from rich.table import Table
        from rich.text import Text

        if not rows:
            sys.stderr.write(f"{empty}\n")
            return
        columns = self._fields or columns
        cells = [[cell(value_at(row, column)) for column in columns] for row in rows]
        widths = [max(map(len, texts)) for texts in zip(*cells, strict=True)]
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column, width in zip(columns, widths, strict=True):
            heading = column.replace("_", " ")
            if column == "id":  # never cut, so that it can be copied
                table.add_column(heading, overflow="fold", width=min(width, ID_COLUMNS))
            else:  # shorten the widest columns first
                table.add_column(heading, overflow="ellipsis", no_wrap=width < max(widths))
        for texts in cells:
            table.add_row(
                *(Text(text, no_wrap=column != "id") for column, text in zip(columns, texts, strict=True))
            )
        console().print(table)

    def _properties(self, row: Row) -> None:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in row.items():
            if value is not None:
                table.add_row(name.replace("_", " "), cell(value))
        console().print(table)


def console(*, error: bool = False) -> Any:
    """A terminal that respects NO_COLOR and prints text literally."""
    from rich.console import Console

    return Console(stderr=error, markup=False, highlight=False, emoji=False)


def cell(value: Any) -> str:
    """A value as shown in a table."""
    match value:
        case None:
            return ""
        case _ if value is ABSENT:
            return ""
        case str():
            return printable(value)
        case _:
            return printable(_json(value).rstrip("\n"))


def printable(text: str) -> str:
    """Text with control characters escaped, so that it cannot move the cursor or change colours."""
    return "".join(each if each.isprintable() or each in "\n\t" else repr(each)[1:-1] for each in text)


def value_at(row: Row, path: str) -> Any:
    """The value at a dotted path, or ABSENT."""
    found: Any = row
    for key in path.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return ABSENT
        found = found[key]
    return found


def _json(value: Any, *, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent) + "\n"


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
