"""A type checker knows what the client accepts and returns, and catches mistakes."""

from __future__ import annotations

import re
from pathlib import Path

from mypy import api

CASES = Path(__file__).with_name("typing_cases.py")
CONFIG = CASES.parents[3] / "pyproject.toml"
IGNORE = re.compile(r"  # type: [i]gnore\[([a-z-]+)\]$")


def errors_in(path: Path) -> set[tuple[int, str]]:
    """The line and kind of each error that mypy finds."""
    report, problems, _ = api.run(["--config-file", str(CONFIG), "--no-incremental", str(path)])
    assert not problems
    found = re.findall(rf"{path.name}:(\d+): error: .* \[([a-z-]+)\]$", report, re.MULTILINE)
    return {(int(line), kind) for line, kind in found}


def test_correct_programs_are_accepted() -> None:
    assert errors_in(CASES) == set()


def test_each_mistake_is_caught(tmp_path: Path) -> None:
    lines = CASES.read_text(encoding="utf-8").splitlines()
    mistakes = {
        (number, marked[1]) for number, line in enumerate(lines, start=1) if (marked := IGNORE.search(line))
    }
    bare = tmp_path / "bare_cases.py"
    bare.write_text("\n".join(IGNORE.sub("", line) for line in lines), encoding="utf-8")
    assert len(mistakes) > 10
    assert errors_in(bare) == mistakes
