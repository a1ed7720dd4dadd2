"""Templates: the names they use, and their values. Also the program of the process in which they are rendered.

Jinja's sandbox keeps a template from reaching Python's objects, but limits neither time nor memory. So templates are
rendered in a separate process: this file run as a program, which reads one line of JSON per value. It imports nothing
from the package, so that it starts fast and has no connection and no secret.
"""

from __future__ import annotations

import functools
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

LAST: Final = "_"
MEMORY_BYTES: Final = 512 * 1024 * 1024
PROCESSOR_SECONDS: Final = 2.0
MAX_OUTPUT_BYTES: Final = 4 * 1024 * 1024
_NOT_REPEATABLE: Final = ("random",)
"""An interrupted run renders again and must get the same result."""

_WITHIN: Final = frozenset({"loop", "caller", "varargs", "kwargs"})
"""Names that Jinja defines inside a loop or macro."""

_SINGLE: Final = re.compile(r"\s*\{\{[-+]?(.*?)[-+]?\}\}\s*", re.DOTALL)
_MARKERS: Final = ("{{", "{%", "{#")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)


def _as_text(value: Any) -> Any:
    """The text form of a value: JSON except for strings, since Python's own forms mean nothing to most readers."""
    if isinstance(value, jinja2.Undefined | str):
        return value
    return _json(value)


class _Missing(jinja2.StrictUndefined):
    """A missing name or key. Using it is an error that names it."""

    @property
    def _undefined_message(self) -> str:
        where = "" if self._undefined_obj is jinja2.utils.missing else " in the value that it is taken from"
        return self._undefined_hint or f"there is no `{self._undefined_name}`{where}"


@functools.cache
def environment() -> jinja2.Environment:
    """The Jinja environment for the templates of tasks."""
    made = ImmutableSandboxedEnvironment(
        undefined=_Missing, finalize=_as_text, keep_trailing_newline=True, autoescape=False
    )
    for name in _NOT_REPEATABLE:
        del made.filters[name]
    made.filters["tojson"] = lambda value, indent=None: json.dumps(
        value, ensure_ascii=False, indent=indent, default=_plain
    )
    made.globals = {name: made.globals[name] for name in ("range", "dict", "namespace")}
    return made


def is_template(text: str) -> bool:
    """Whether a string of the file contains a template."""
    return text == LAST or any(marker in text for marker in _MARKERS)


def expression_of(text: str) -> str | None:
    """The expression of a string that is a single `{{ … }}`. Raises jinja2.TemplateSyntaxError."""
    if text == LAST:
        return LAST
    single = _SINGLE.fullmatch(text)
    if single is None:
        return None
    return single[1].strip() if _is_single(environment().parse(text.strip())) else None


def condition_of(text: str) -> str:
    """The expression of a string under a key that takes expressions."""
    single = expression_of(text) if _SINGLE.fullmatch(text) else None
    return text.strip() if single is None else single


def parse(text: str, *, bare: bool) -> nodes.Template:
    """The syntax tree of a template, or of a bare expression. Raises jinja2.TemplateSyntaxError."""
    expression = text == LAST or (bare and not _SINGLE.fullmatch(text))
    tree = environment().parse(f"{{{{ {text} }}}}" if expression else text)
    if expression and not _is_single(tree):
        raise jinja2.TemplateSyntaxError("this key takes one expression", 1)
    return tree


def _is_single(tree: nodes.Template) -> bool:
    match tree.body:
        case [nodes.Output(nodes=[_])]:
            return True
    return False


def names_in(tree: nodes.Template) -> set[str]:
    """The names that a template uses but does not define.

    Jinja's `meta.find_undeclared_variables` would evaluate constant expressions, however long they take.
    """
    used = {each.name for each in tree.find_all(nodes.Name) if each.ctx == "load"}
    made = {each.name for each in tree.find_all(nodes.Name) if each.ctx != "load"}
    made |= {each.name for each in tree.find_all(nodes.Macro)}
    return used - made - _WITHIN - environment().globals.keys()


def attributes_of(tree: nodes.Template) -> Iterator[tuple[str, str | int]]:
    """Each `name.key`, `name["key"]` and `name[0]`, as name and key."""
    for each in tree.find_all((nodes.Getattr, nodes.Getitem)):
        match each:
            case nodes.Getattr(node=nodes.Name(name=str(name)), attr=str(key)):
                yield name, key
            case nodes.Getitem(node=nodes.Name(name=str(name)), arg=nodes.Const(value=str() | int() as key)):
                yield name, key


def render(value: Any, names: Mapping[str, Any], *, bare: bool) -> Any:
    """A value of the file with its templates rendered. With `bare`, a string is an expression."""
    if isinstance(value, str):
        return _render_text(value, names, bare=bare)
    if isinstance(value, list):
        return [render(each, names, bare=False) for each in value]
    if isinstance(value, dict):
        return {key: render(each, names, bare=False) for key, each in value.items()}
    return value


def _render_text(text: str, names: Mapping[str, Any], *, bare: bool) -> Any:
    if not bare and not is_template(text):
        return text
    expression = condition_of(text) if bare else expression_of(text)
    if expression is None:
        return "".join(_bounded(_template(text).generate(names)))
    return _plain(_expression(expression)(**names))


@functools.lru_cache(512)
def _template(text: str) -> jinja2.Template:
    return environment().from_string(text)


@functools.lru_cache(512)
def _expression(text: str) -> Any:
    return environment().compile_expression(text, undefined_to_none=False)


def _bounded(pieces: Iterator[str]) -> Iterator[str]:
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > MAX_OUTPUT_BYTES:
            raise ValueError(f"its text is larger than {MAX_OUTPUT_BYTES // 1024**2} MiB")
        yield piece


def _plain(value: Any) -> Any:
    """A result as JSON."""
    if isinstance(value, jinja2.Undefined):
        return str(value)  # raises, naming what is missing
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number of its value is not finite")
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_key(key): _plain(each) for key, each in value.items()}
    if callable(value) or not hasattr(value, "__iter__"):
        raise ValueError(f"its value is of the kind {type(value).__name__}, which is not JSON")
    return [_plain(each) for each in value]


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError(f"a key of its value is {key!r}, and JSON's keys are strings")
    return _text(key)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("its text has half of a surrogate pair, which is not valid Unicode") from None
    return str(value)


def _answer(line: str) -> dict[str, Any]:
    request = json.loads(line)
    try:
        value = render(request["value"], request["names"], bare=request["bare"])
        encoded = json.dumps({"value": value}, allow_nan=False)
    except (MemoryError, RecursionError) as error:
        return {
            "error": "it needs too much memory" if isinstance(error, MemoryError) else "it nests too deeply"
        }
    except jinja2.UndefinedError as error:
        return {"error": str(error)}
    except Exception as error:
        return {"error": f"{error}" or type(error).__name__}
    if len(encoded) > MAX_OUTPUT_BYTES:
        return {"error": f"its value is larger than {MAX_OUTPUT_BYTES // 1024**2} MiB"}
    return {"encoded": encoded}


def serve() -> None:
    """Responds to each line of JSON with another one, until the input ends.

    A template that uses up its CPU time ends the process by the signal's default action: a Python handler would run
    only after the very operation that takes too long.
    """
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS)
        answer = _answer(line)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(answer.get("encoded") or json.dumps({"error": answer["error"][:1000]}))
        sys.stdout.write("\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
