"""Tables of cases in a text file: `=== NAME`, the text of the case, and each expectation after `>>> `."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Case(NamedTuple):
    text: str
    expected: list[str]


def read_cases(path: Path) -> dict[str, Case]:
    """The cases of a file by name."""
    cases: dict[str, Case] = {}
    for part in path.read_text(encoding="utf-8").split("=== ")[1:]:
        name, *lines = part.splitlines()
        text = [f"{line}\n" for line in lines if not line.startswith(">>> ")]
        assert name not in cases, name
        cases[name] = Case(
            "".join(text), [line.removeprefix(">>> ") for line in lines if line.startswith(">>> ")]
        )
    return cases
