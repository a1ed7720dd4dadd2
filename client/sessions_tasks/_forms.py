"""How keys of a task are read and written: each key has a form, and a record is a dataclass of such keys.

Reading does not stop at a problem, so that all problems of a file are found at once; unreadable values become None or
empty, and such a task is never run.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar, cast

from sessions_tasks._errors import Mark, Problem
from sessions_tasks._yaml import START, Node

T = TypeVar("T")
NAME_PATTERN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


class Problems(list[Problem]):
    """The problems found in a file so far."""

    def add(self, mark: Mark, message: str) -> None:
        self.append(Problem(mark, message))


class Form(Protocol[T]):
    """The form of a key's value."""

    def read(self, node: Node, problems: Problems) -> T: ...

    def write(self, value: T) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Record:
    """A mapping of the file with known keys."""

    mark: Mark = field(default=START, compare=False)
    keys: Mapping[str, Mark] = field(default_factory=dict, compare=False)

    TITLE: ClassVar[str] = "This"

    def at(self, key: str) -> Mark:
        """The location of a key; that of the record if the key is absent."""
        return self.keys.get(key, self.mark)


@dataclass(frozen=True)
class Key:
    """A key of a record, and the field that holds it."""

    name: str
    attribute: str
    form: Form[Any]
    required: bool
    default: object


def key(form: Form[Any], default: Any = MISSING) -> Any:
    """A field of a record. The key is the field's name without a trailing underscore; without a default it is
    required."""
    metadata = {"form": form, "required": default is MISSING}
    # A dataclass field needs a default because earlier fields have one.
    return field(default=None if default is MISSING else default, metadata=metadata)


def keys_of(record: type[Record]) -> Mapping[str, Key]:
    """The keys of a record, in the order in which they are written."""
    found = (each for each in fields(record) if "form" in each.metadata)
    return {
        each.name.rstrip("_"): Key(
            each.name.rstrip("_"), each.name, each.metadata["form"], each.metadata["required"], each.default
        )
        for each in found
    }


def nearest(word: str, known: Iterable[str]) -> str:
    """Ends a sentence about an unknown word: with the known word that was probably meant, or with all of them."""
    names = list(known)
    for match in difflib.get_close_matches(word, names, n=1):
        return f"Did you mean `{match}`?"
    return f"Known are {listed(names)}." if names else "There are none."


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in names)


def short(text: str) -> str:
    """A word of the file, shortened for an error."""
    return text if len(text) <= 40 else f"{text[:40]}…"


def readable(value: T) -> T | None:
    """A field of a record, which may be None if it could not be read, whatever its type says."""
    return value


class Checked(Generic[T]):
    """A plain value that must pass a test."""

    def __init__(self, what: str, test: Callable[[Any], bool]) -> None:
        self._what, self._test = what, test

    def read(self, node: Node, problems: Problems) -> T:
        if not self._test(node.plain):
            problems.add(node.mark, f"This must be {self._what}, not {_shown(node)}.")
            return cast(T, None)
        return cast(T, node.plain)

    def write(self, value: T) -> Any:
        return value


def _shown(node: Node) -> str:
    if isinstance(node.value, str | int | float) and not isinstance(node.value, bool):
        return f"`{short(str(node.value))}`"
    return node.kind


def one_of(*names: str) -> Checked[str]:
    return Checked(f"one of {listed(names)}", lambda value: isinstance(value, str) and value in names)


def whole(low: int, high: int) -> Checked[int]:
    return Checked(
        f"a whole number from {low} to {high}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
    )


TEXT: Final = Checked[str]("text", lambda value: isinstance(value, str))
FLAG: Final = Checked[bool]("true or false", lambda value: isinstance(value, bool))
NAME: Final = Checked[str](
    "a name of up to 64 letters, digits, `_` and `-` that begins with a letter",
    lambda value: isinstance(value, str) and NAME_PATTERN.fullmatch(value) is not None,
)


class ValueForm:
    """Any value; its strings may be templates."""

    def read(self, node: Node, problems: Problems) -> Node:
        return node

    def write(self, value: Node) -> Any:
        return value.plain


class MappingForm(ValueForm):
    """A mapping of values."""

    def read(self, node: Node, problems: Problems) -> Node:
        if not isinstance(node.value, Mapping):
            problems.add(node.mark, f"This must be a mapping, not {_shown(node)}.")
            return Node({}, node.mark)
        return node


class ExpressionForm(ValueForm):
    """Like a value, but a string is an expression even without `{{ }}`."""

    def read(self, node: Node, problems: Problems) -> Node:
        if node.value is None:
            problems.add(node.mark, "This must be an expression such as `inputs.x > 1`, not nothing.")
        return node


VALUE: Final = ValueForm()
MAPPING: Final = MappingForm()
EXPRESSION: Final = ExpressionForm()


class ListOf(Generic[T]):
    """A list; if `alone` is true, a single item may stand for a list of one."""

    def __init__(self, form: Form[T], *, alone: bool = False) -> None:
        self._form, self._alone = form, alone

    def read(self, node: Node, problems: Problems) -> tuple[T, ...]:
        if isinstance(node.value, tuple):
            return tuple(self._form.read(each, problems) for each in node.value)
        if self._alone:
            return (self._form.read(node, problems),)
        problems.add(node.mark, f"This must be a list, not {_shown(node)}.")
        return ()

    def write(self, value: tuple[T, ...]) -> Any:
        return [self._form.write(each) for each in value]


R = TypeVar("R", bound=Record)


class RecordOf(Generic[R]):
    """A mapping with the keys of one record."""

    def __init__(self, record: type[R]) -> None:
        self._record = record

    def read(self, node: Node, problems: Problems) -> R:
        known = keys_of(self._record)
        if not isinstance(node.value, Mapping):
            problems.add(node.mark, f"This must be a mapping with {listed(known)}, not {_shown(node)}.")
            return self._record(mark=node.mark)
        return read_record(self._record, node, problems)

    def write(self, value: R) -> Any:
        return write_record(value)


def read_record(record: type[R], node: Node, problems: Problems) -> R:
    """Reads the known keys of a mapping and reports unknown ones."""
    known, given = keys_of(record), node.mapping
    for name in given.keys() - known.keys():
        problems.add(node.keys[name], f"{record.TITLE} has no key `{short(name)}`. {nearest(name, known)}")
    values: dict[str, Any] = {}
    for name, each in known.items():
        if name in given:
            values[each.attribute] = each.form.read(given[name], problems)
        elif each.required:
            problems.add(node.mark, f"{record.TITLE} needs the key `{name}`. Add it.")
    return record(mark=node.mark, keys=node.keys, **values)


def write_record(record: Record) -> dict[str, Any]:
    """The mapping that `read_record` reads as an equal record."""
    return {
        name: each.form.write(getattr(record, each.attribute))
        for name, each in keys_of(type(record)).items()
        if each.required or getattr(record, each.attribute) != each.default
    }
