"""The operations of `update_context(changes=[…])`, each with the path it works on.

A path is dotted, `user_input.query` or `items.0.name`; one that starts with `/` is a JSON Pointer, for keys
with dots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict

from sessions_client._errors import refused
from sessions_client._json_form import Model
from sessions_client._models import NOT_GIVEN, NotGiven


@dataclass(frozen=True, slots=True)
class Set(Model):
    """Sets the value at a path; missing parent objects are created."""

    path: str
    value: Any


@dataclass(frozen=True, slots=True)
class Remove(Model):
    """Removes the value at a path; does nothing if the key does not exist."""

    path: str


@dataclass(frozen=True, slots=True)
class Increment(Model):
    """Adds to the number at a path; a missing one counts as 0."""

    path: str
    by: float = 1


@dataclass(frozen=True, slots=True)
class Append(Model):
    """Appends a value to the list at a path; a missing list is created."""

    path: str
    value: Any


@dataclass(frozen=True, slots=True)
class Merge(Model):
    """Merges keys into the object at a path, the empty path being the whole context.

    The merge is shallow: given keys replace old values, other keys stay, None is stored as null.
    """

    path: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


class ChangeDict(TypedDict, total=False):
    """A change as a plain dict: a `path` and exactly one operation."""

    path: str
    set: Any
    remove: bool
    increment: float
    append: Any
    merge: Mapping[str, Any]


Change: TypeAlias = Set | Remove | Increment | Append | Merge | ChangeDict | Mapping[str, Any]


def changes_of(
    *,
    path: str | None,
    value: Any,
    context: Mapping[str, Any] | None,
    changes: Iterable[Change] | NotGiven,
) -> Iterable[Change]:
    """The changes of the three forms of `update_context`. Raises InvalidArgument unless exactly one form is
    used."""
    by_path = path is not None or value is not NOT_GIVEN
    if by_path + (context is not None) + (changes is not NOT_GIVEN) != 1:
        raise refused("changes", "give exactly one of `path=` with `value=`, `context=` or `changes=`.")
    if context is not None:
        return [Merge("", context)]
    if not isinstance(changes, NotGiven):
        return changes
    if path is None or value is NOT_GIVEN:
        raise refused("path", "`path=` and `value=` belong together; give both.")
    return [Set(path, value)]
