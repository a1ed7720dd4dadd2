"""Prints the sizes of files and functions, and fails if one is too long to be read in one go.

Files are counted by lines, and functions by the lines of their bodies without docstrings. Generated code does not
count. `make verify-sizes` runs this, and so does a test.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.meta.tree import text_of, written_by_hand

FILE_LINES = 400
BODY_LINES = 45
BODY_LINES_P90 = 20


class Size(NamedTuple):
    area: str
    """The top-level folder, such as `server`."""
    lines: int
    name: str


def file_sizes() -> list[Size]:
    return [
        Size(path.parts[0], len(text_of(path).splitlines()), str(path)) for path in written_by_hand("*.py")
    ]


def body_sizes() -> list[Size]:
    return [
        Size(path.parts[0], lines, f"{path}:{name}")
        for path in written_by_hand("*.py")
        for name, lines in bodies(text_of(path))
    ]


def bodies(source: str) -> Iterator[tuple[str, int]]:
    """Each function's name and the number of lines of its body, including inner functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body:
                yield node.name, (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


def percentile_90(sizes: Iterable[Size]) -> int:
    ordered = sorted(size.lines for size in sizes)
    return ordered[(len(ordered) * 9 - 1) // 10] if ordered else 0


def too_long(files: list[Size], functions: list[Size]) -> list[str]:
    """A sentence for each exceeded limit."""
    found = [
        f"{size.name} has {size.lines} lines; a file has fewer than {FILE_LINES}."
        for size in files
        if size.lines >= FILE_LINES
    ]
    found += [
        f"{size.name} has {size.lines} lines; a function's body has fewer than {BODY_LINES}."
        for size in functions
        if size.lines >= BODY_LINES
    ]
    p90 = percentile_90(functions)
    if p90 > BODY_LINES_P90:
        found.append(f"One function in ten has {p90} lines or more; keep that to {BODY_LINES_P90}.")
    return found


def report(title: str, sizes: list[Size]) -> list[str]:
    areas: dict[str, list[Size]] = defaultdict(list)
    for size in sizes:
        areas[size.area].append(size)
    rows = [f"{title:<12} {'count':>6} {'median':>7} {'p90':>5} {'max':>5}  longest"]
    for area, members in [*sorted(areas.items()), ("all", sizes)]:
        longest = max(members, key=lambda size: size.lines)
        median = round(statistics.median(size.lines for size in members))
        numbers = f"{len(members):>6} {median:>7} {percentile_90(members):>5} {longest.lines:>5}"
        rows.append(f"{area:<12} {numbers}  {longest.name}")
    return rows


def main() -> str | None:
    """Returns None if every limit is kept, else sentences about those that are not."""
    files, functions = file_sizes(), body_sizes()
    sys.stdout.write("\n".join([*report("files", files), "", *report("functions", functions), ""]))
    return "\n".join(too_long(files, functions)) or None


if __name__ == "__main__":
    sys.exit(main())
