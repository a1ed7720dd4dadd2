"""Paths into a context, and operations on it. Operations never modify a value in place: they return a new one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from sessions_server.domain.errors import PathConflict
from sessions_server.domain.limits import MAX_DEPTH, MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from sessions_server.domain.models import Json, JsonObject

Path: TypeAlias = tuple[str, ...]

_INDEX = re.compile(r"0|[1-9][0-9]*")
_INDEX_DIGITS = 9
"""No list is so long that an index needs more."""
_CONTAINERS = frozenset({dict, list})
_BAD_ESCAPE = re.compile(r"~(?![01])")


@dataclass(frozen=True, slots=True)
class Set:
    value: Json


@dataclass(frozen=True, slots=True)
class Remove:
    pass


@dataclass(frozen=True, slots=True)
class Increment:
    by: int | float


@dataclass(frozen=True, slots=True)
class Append:
    value: Json


@dataclass(frozen=True, slots=True)
class Merge:
    """Shallow: given keys are replaced, other keys stay, and `None` is stored as null."""

    values: JsonObject


Operation: TypeAlias = Set | Remove | Increment | Append | Merge


@dataclass(frozen=True, slots=True)
class Change:
    text: str
    """The path as written by the caller."""
    path: Path
    operation: Operation


class Missing:
    """No value at a path. Not None, which is JSON's null."""


MISSING = Missing()


def parse_path(text: str) -> Path:
    """Parses `a.b.0` or the JSON Pointer `/a/b/0`; the empty string is the root. Raises ValueError with a sentence."""
    if not text:
        return ()
    if text.startswith("/"):
        if _BAD_ESCAPE.search(text):
            raise ValueError("In a JSON Pointer `~` is written `~0` and `/` is written `~1`.")
        path = tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))
    else:
        path = tuple(text.split("."))
        if not all(path):
            raise ValueError(
                "A dotted path has no empty parts; for a key with dots use a JSON Pointer such as `/a.b`."
            )
    if len(path) > MAX_DEPTH:
        raise ValueError(f"A path has at most {MAX_DEPTH} parts.")
    return path


def format_path(path: Path) -> str:
    """The string form of a path: dotted if that is unambiguous, else a JSON Pointer. The inverse of `parse_path`."""
    if all(part and "." not in part for part in path) and not path[0].startswith("/"):
        return ".".join(path)
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def lookup(data: JsonObject, path: Path) -> Json | Missing:
    """The value at a path. Raises PathConflict if the path leads through a scalar or past the end of a list."""
    here: Json = data
    for part in path:
        if isinstance(here, dict):
            if part not in here:
                return MISSING
            here = here[part]
        elif isinstance(here, list):
            here = here[_index(here, part)]
        else:
            raise _through_scalar()
    return here


def apply(data: JsonObject, changes: Sequence[Change]) -> JsonObject:
    """The object after all changes, applied in order. Raises PathConflict, naming the change that does not fit."""
    for number, change in enumerate(changes):
        try:
            data = _object(_edit(data, change.path, change.operation))
        except PathConflict as conflict:
            conflict.metadata["change"] = str(number)
            raise
    return data


def measure(value: Json) -> tuple[int, int]:
    """How many keys a value has at all levels, and how deep it nests; a scalar has depth 0."""
    if not isinstance(value, (dict, list)):
        return 0, 0
    keys, depth = (len(value), 0) if isinstance(value, dict) else (0, 0)
    items = value.values() if isinstance(value, dict) else value
    if not _CONTAINERS.isdisjoint(map(type, items)):
        for item in items:
            if isinstance(item, (dict, list)):
                more, deeper = measure(item)
                keys, depth = keys + more, max(depth, deeper)
    return keys, depth + 1


def _edit(here: Json | Missing, path: Path, operation: Operation) -> Json:
    if not path:
        return _value(here, operation)
    part, rest = path[0], path[1:]
    if isinstance(here, list):
        return _edit_item(here, _index(here, part), rest, operation)
    if isinstance(here, Missing):
        here = {}
    if not isinstance(here, dict):
        raise _through_scalar()
    if isinstance(operation, Remove):
        if part not in here:
            return here
        if not rest:
            return {key: value for key, value in here.items() if key != part}
    return {**here, part: _edit(here.get(part, MISSING), rest, operation)}


def _edit_item(here: list[Json], index: int, rest: Path, operation: Operation) -> Json:
    if isinstance(operation, Remove) and not rest:
        return here[:index] + here[index + 1 :]
    return [*here[:index], _edit(here[index], rest, operation), *here[index + 1 :]]


def _index(items: list[Json], part: str) -> int:
    if not _INDEX.fullmatch(part):
        raise PathConflict(
            "The path names a key where the context has a list; use a number such as `0` there."
        )
    if len(part) > _INDEX_DIGITS or int(part) >= len(items):
        raise PathConflict("The path's index is past the end of the list; use `append` to add to it.")
    return int(part)


def _through_scalar() -> PathConflict:
    return PathConflict(
        "The path leads through a value that is neither an object nor a list; set that value first."
    )


def _value(here: Json | Missing, operation: Operation) -> Json:
    """The new value after the operation."""
    match operation:
        case Set(value):
            return value
        case Increment(by):
            return _sum(here, by)
        case Append(value):
            if not isinstance(here, (list, Missing)):
                raise PathConflict("Only a list can be appended to; `set` the value to a list first.")
            return [value] if isinstance(here, Missing) else [*here, value]
        case Merge(values):
            return {**({} if isinstance(here, Missing) else _object(here)), **values}
        case Remove():
            raise PathConflict("The whole context cannot be removed; `set` it to an empty object.")


def _sum(here: Json | Missing, by: float) -> Json:
    if isinstance(here, Missing):
        here = 0
    if isinstance(here, bool) or not isinstance(here, (int, float)):
        raise PathConflict("Only a number can be incremented; `set` the value first.")
    total: int | float = here + by
    if not abs(total) <= MAX_SAFE_INTEGER:
        raise PathConflict(
            "The sum would be larger than a JSON number can hold exactly; keep it as a string."
        )
    return int(total) if isinstance(total, float) and total.is_integer() else total


def _object(value: Json) -> JsonObject:
    if not isinstance(value, dict):
        raise PathConflict("Only an object can be merged into; `set` the value to an object first.")
    return value
