"""Parses YAML to nodes that know their location, and writes it.

Scalars follow YAML 1.2's core schema: `no` and `on` are strings here, and `012` is twelve. Aliases share nodes, so that
nested aliases cost nothing until expanded; the expanded size is checked first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeAlias

import yaml

from sessions_tasks._errors import Mark, Problem

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 64
MAX_NODES: Final = 50_000
"""How many values a file may have, counting each alias as what it expands to."""

_EMPTY: Final = "The file is empty. A task has at least `main:` with a list of steps."

Scalar: TypeAlias = bool | int | float | str | None
START: Final = Mark(1, 1)


@dataclass(frozen=True)
class Node:
    """A value of the file. Equal to any other with the same content, regardless of its location."""

    value: Scalar | tuple[Node, ...] | Mapping[str, Node]
    mark: Mark = field(default=START, compare=False)
    keys: Mapping[str, Mark] = field(default_factory=dict, compare=False)
    """The location of each key of a mapping."""

    @cached_property
    def plain(self) -> Any:
        """The value as a JSON parser would return it. Must not be modified."""
        match self.value:
            case tuple():
                return [each.plain for each in self.value]
            case Mapping():
                return {key: each.plain for key, each in self.value.items()}
        return self.value

    @property
    def mapping(self) -> Mapping[str, Node]:
        """The value if it is a mapping, else empty."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def kind(self) -> str:
        """The kind of value, as named in errors."""
        match self.value:
            case None:
                return "nothing"
            case bool():
                return "true or false"
            case int() | float():
                return "a number"
            case str():
                return "text"
            case tuple():
                return "a list"
        return "a mapping"

    def leaves(self) -> Iterator[Node]:
        """All scalars within."""
        match self.value:
            case tuple():
                for each in self.value:
                    yield from each.leaves()
            case Mapping():
                for each in self.value.values():
                    yield from each.leaves()
            case _:
                yield self


class BadYaml(Exception):
    """The text is not valid YAML for tasks; `problems` says why."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems


class _Core(yaml.resolver.BaseResolver):
    """Which plain scalars are not strings."""


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Core.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def read_yaml(text: str) -> Node:
    """Parses one document. Raises BadYaml."""
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise BadYaml(Problem(START, "The file is larger than 1 MiB. Split it into several tasks."))
    loader = yaml.SafeLoader(text) if _printable(text) else None
    if loader is None:
        raise BadYaml(
            Problem(START, "The file holds control characters. Write them as escapes in double quotes.")
        )
    try:
        composer = _Composer(loader)
        node = composer.document()
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        said = " ".join(each for each in (error.context, error.problem) if each)
        mark = Mark(where.line + 1, where.column + 1) if where else START
        raise BadYaml(Problem(mark, f"This is not YAML: {said}. Check indentation and quotes.")) from error
    if composer.problems:
        raise BadYaml(*composer.problems)
    return node


def _printable(text: str) -> bool:
    return yaml.reader.Reader.NON_PRINTABLE.search(text) is None


class _Composer:
    """Builds nodes from the parser's events, within limits."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self._parser: Any = loader
        self._resolver: Any = _Core()
        self._anchors: dict[str, Node] = {}
        self._sizes: dict[int, int] = {}
        self._written = 0
        self.problems: list[Problem] = []

    def document(self) -> Node:
        for _ in ("the stream begins", "the document begins, unless the stream is empty"):
            event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            raise BadYaml(Problem(START, _EMPTY))
        node = self._node(0)
        self._next()
        if not self._parser.check_event(yaml.StreamEndEvent):
            event = self._next()
            raise BadYaml(Problem(_mark(event), "The file has a second document. Keep one task in a file."))
        return node

    def _next(self) -> Any:
        return self._parser.get_event()

    def _node(self, depth: int) -> Node:
        event = self._next()
        self._written += 1
        if self._written > MAX_NODES:
            raise BadYaml(Problem(_mark(event), f"The file holds more than {MAX_NODES:,} values. Split it."))
        if depth > MAX_DEPTH:
            raise BadYaml(
                Problem(_mark(event), f"This is nested deeper than {MAX_DEPTH} levels. Flatten it.")
            )
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        elif isinstance(event, yaml.MappingStartEvent):
            node = self._mapping(event, depth)
        else:
            node = Node(self._scalar(event), _mark(event))
        self._count(node)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self._anchors:
            raise BadYaml(
                Problem(
                    _mark(event), f"No anchor `&{event.anchor}` is complete before this. Define it first."
                )
            )
        return self._anchors[event.anchor]

    def _sequence(self, event: Any, depth: int) -> Node:
        items = []
        while not self._parser.check_event(yaml.SequenceEndEvent):
            items.append(self._node(depth + 1))
        self._next()
        return Node(tuple(items), _mark(event))

    def _mapping(self, event: Any, depth: int) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        merged: list[Node] = []
        while not self._parser.check_event(yaml.MappingEndEvent):
            is_merge = self._is_merge(self._parser.peek_event())
            key, value = self._node(depth + 1), self._node(depth + 1)
            if is_merge:
                merged += value.value if isinstance(value.value, tuple) else [value]
            elif not isinstance(key.value, str):
                self._add(key.mark, f"A key must be a string, not {key.kind}. Write it in quotes.")
            elif key.value in values:
                self._add(key.mark, f"The key `{key.value}` is here twice. Keep one.")
            else:
                values[key.value], keys[key.value] = value, key.mark
        self._next()
        for each in merged:
            self._merge(each, values, keys)
        return Node(values, _mark(event), keys)

    def _merge(self, node: Node, values: dict[str, Node], keys: dict[str, Mark]) -> None:
        if not isinstance(node.value, Mapping):
            self._add(node.mark, "`<<` takes a mapping or a list of mappings.")
            return
        for key, value in node.value.items():
            if key not in values:
                values[key], keys[key] = value, node.keys[key]

    def _is_merge(self, event: Any) -> bool:
        return isinstance(event, yaml.ScalarEvent) and event.style is None and event.value == "<<"

    def _scalar(self, event: Any) -> Scalar:
        if re.search("[\ud800-\udfff]", event.value):
            self._add(
                _mark(event),
                "This has half of a surrogate pair, which is no character. Write the whole character.",
            )
            return None
        tag = event.tag
        if tag is None:
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        name = tag.removeprefix("tag:yaml.org,2002:")
        if name not in _SCALARS:
            self._add(_mark(event), f"The tag `{tag}` is not known here. Remove it.")
            return None
        try:
            return _SCALARS[name](event.value)
        except ValueError:
            self._add(_mark(event), f"`{event.value[:40]}` is not a value of the tag `!!{name}`.")
            return None

    def _count(self, node: Node) -> None:
        match node.value:
            case tuple():
                size = 1 + sum(self._sizes[id(each)] for each in node.value)
            case Mapping():
                size = 1 + sum(self._sizes[id(each)] for each in node.value.values())
            case _:
                size = 1
        self._sizes[id(node)] = size
        if size > MAX_NODES:
            message = (
                f"This holds more than {MAX_NODES:,} values once its aliases are expanded. Use fewer aliases."
            )
            raise BadYaml(Problem(node.mark, message))

    def _add(self, mark: Mark, message: str) -> None:
        self.problems.append(Problem(mark, message))


def _integer(text: str) -> int:
    if len(text) > 400:
        raise ValueError(text)
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_SCALARS: Final[Mapping[str, Callable[[str], Scalar]]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _integer,
    "float": lambda text: float(re.sub(r"\.(?=inf|nan)", "", text.lower())),
    "str": str,
    "merge": str,
}


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


class _Dumper(yaml.SafeDumper):
    """Quotes strings that this module would read as something else, and repeats values instead of using aliases."""

    yaml_implicit_resolvers = _Core.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes these as line breaks, which it reads as spaces; findings/pyyaml_next_line.sh demonstrates it.
    style = '"' if any(each in text for each in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _write_text)


def write_yaml(plain: Any) -> str:
    """The text that `read_yaml` reads as the same value."""
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
