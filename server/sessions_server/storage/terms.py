"""The index of metadata: for each session the values at its paths, as short strings with a meaningful order.

An index row never decides. It selects candidates: all matches of a condition are among them, and possibly a few more,
since long strings, paths and lists are cut. The condition itself is evaluated on the metadata.

  z null   t true   f false   n… a number   s… a string   o an object   l a list   e… an item of a list
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from sessions_server.domain.filters import Condition, Operator
from sessions_server.storage.conditions import NotPlain, items_of

if TYPE_CHECKING:
    from sessions_server.domain.models import Json, JsonObject

_PATH_CHARACTERS: Final = 128
_TEXT_CHARACTERS: Final = 64
_INDEXED_ITEMS: Final = 64
_MOST_SETS: Final = 4
"""Any one of them is enough, and the size of each has to be counted."""

_LONG_LIST: Final = "e*"
"""Stands for all items of a list with too many."""

_OBJECT: Final = "o"
_LIST: Final = "l"
_NUMBERS: Final = ("n", "n~")
_TEXTS: Final = ("s", "t")
_EVERYTHING: Final = ("", "~")

_SIGN: Final = 1 << 63
_ALL_BITS: Final = (1 << 64) - 1

Path: TypeAlias = tuple[str, ...]


class Term(NamedTuple):
    path: str
    term: str


class Candidates(NamedTuple):
    """Sessions that have a term at a path within any of several ranges, both ends included."""

    path: str
    ranges: tuple[tuple[str, str], ...]

    @property
    def one_term(self) -> str | None:
        """The term, if all candidates share a single one: then each is listed once, and in order of creation."""
        (low, high), *more = self.ranges
        return low if low == high and not more else None


def terms(metadata: JsonObject) -> set[Term]:
    return set(_walk(metadata, ()))


def candidates(condition: Condition) -> list[Candidates]:
    """A few sets of sessions, each containing everything that satisfies the condition; none if that cannot be
    determined."""
    if not all(map(_is_indexed, condition.path)):
        return []
    make = _CANDIDATES.get(condition.operator)
    return make(condition.path, condition.operand)[:_MOST_SETS] if make is not None else []


def _walk(value: Json, path: Path) -> Iterator[Term]:
    at = _joined(path)
    if isinstance(value, dict):
        if path:
            yield Term(at, _OBJECT)
        for key, item in value.items():
            if _is_indexed(key):
                yield from _walk(item, (*path, key))
    elif isinstance(value, list):
        yield Term(at, _LIST)
        items = {_item(item) for item in value if not isinstance(item, (dict, list))}
        yield from (Term(at, term) for term in (items if len(items) <= _INDEXED_ITEMS else [_LONG_LIST]))
    else:
        yield Term(at, _scalar(value))


def _is_indexed(key: str) -> bool:
    """Whether the value at the key is in the index, whose paths are dotted."""
    return key != "" and "." not in key


def _joined(path: Path) -> str:
    return ".".join(path)[:_PATH_CHARACTERS]


def _scalar(value: Json) -> str:
    """Raises NotPlain for an object or a list."""
    if value is None:
        return "z"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, str):
        return "s" + value[:_TEXT_CHARACTERS]
    if isinstance(value, (int, float)):
        return f"n{_ordered_bits(value):016x}"
    raise NotPlain(value)


def _ordered_bits(number: float) -> int:
    """A double's bits, changed so that their order is that of the numbers."""
    bits = int(struct.unpack(">Q", struct.pack(">d", number + 0.0))[0])  # -0.0 + 0.0 is 0.0
    return bits ^ (_ALL_BITS if bits & _SIGN else _SIGN)


def _item(value: Json) -> str:
    return "e" + _scalar(value)


def _exactly(path: Path, *found: str) -> Candidates:
    return Candidates(_joined(path), tuple((term, term) for term in found))


def _equal(path: Path, operand: Json) -> list[Candidates]:
    if isinstance(operand, dict):
        return [_exactly(path, _OBJECT)]
    if isinstance(operand, list):
        return [_exactly(path, _LIST)]
    return [_exactly(path, _scalar(operand))]


def _in(path: Path, operand: Json) -> list[Candidates]:
    return [_exactly(path, *{_scalar(item) for item in items_of(operand)})]


def _exists(path: Path, operand: Json) -> list[Candidates]:
    return [Candidates(_joined(path), (_EVERYTHING,))] if operand is True else []


def _above(path: Path, operand: Json) -> list[Candidates]:
    highest = _TEXTS[1] if isinstance(operand, str) else _NUMBERS[1]
    return [Candidates(_joined(path), ((_scalar(operand), highest),))]


def _below(path: Path, operand: Json) -> list[Candidates]:
    lowest = _TEXTS[0] if isinstance(operand, str) else _NUMBERS[0]
    return [Candidates(_joined(path), ((lowest, _scalar(operand)),))]


def _contains(path: Path, operand: Json) -> list[Candidates]:
    if isinstance(operand, (dict, list)):
        return _holds(path, operand)
    held = _exactly(path, _item(operand), _LONG_LIST)
    return [held._replace(ranges=(*held.ranges, _TEXTS)) if isinstance(operand, str) else held]


def _holds(path: Path, operand: Json) -> list[Candidates]:
    """The terms of each part of an object or list to be contained."""
    if isinstance(operand, dict):
        parts = [
            each for key, item in operand.items() if _is_indexed(key) for each in _holds((*path, key), item)
        ]
        return parts or [_exactly(path, _OBJECT)]
    if isinstance(operand, list):
        plain = [item for item in operand if not isinstance(item, (dict, list))]
        return [_exactly(path, _item(item), _LONG_LIST) for item in plain] or [_exactly(path, _LIST)]
    return [_exactly(path, _scalar(operand))]


_CANDIDATES: Final[dict[Operator, Callable[[Path, Json], list[Candidates]]]] = {
    Operator.EQ: _equal,
    Operator.IN: _in,
    Operator.EXISTS: _exists,
    Operator.GT: _above,
    Operator.GTE: _above,
    Operator.LT: _below,
    Operator.LTE: _below,
    Operator.CONTAINS: _contains,
}
