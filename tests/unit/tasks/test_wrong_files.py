"""Invalid files: the errors of each, with line and column, and all of them at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sessions_tasks import InvalidTask, load_task
from tests.support.cases import Case, read_cases

TOOLS = """\
tools:
  - name: get_session
    system: {resource: agent, subresource: session, operation: get}
  - name: say
    system: {resource: agent, subresource: session, operation: add_message}
  - name: update
    system: {resource: agent, subresource: session, operation: update}
"""
"""The replacement for `(tools)` in wrong_files.txt."""


WRITTEN = {
    name: Case(case.text.replace("(tools)\n", TOOLS), case.expected)
    for name, case in read_cases(Path(__file__).with_name("wrong_files.txt")).items()
}
BRACKETS, PARENTHESES = "[" * 100 + "]" * 100, "(" * 3000 + "1" + ")" * 3000
ALIASES = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))
THOUSAND = ", ".join(["1"] * 1000)
TOO_MANY = "This holds more than 50,000 values once its aliases are expanded. Use fewer aliases."
WRONG = {
    **WRITTEN,
    "a control character": Case("main: \x01\n", ["1:1: The file holds control characters. …"]),
    "too deep": Case(
        f"main:\n  - evaluate: {BRACKETS}\n", ["2:77: This is nested deeper than 64 levels. Flatten it."]
    ),
    "too large": Case(
        f"main: {'x' * 2**20}\n", ["1:1: The file is larger than 1 MiB. Split it into several tasks."]
    ),
    "a bomb of aliases": Case(f"a0: &a0 [{', '.join('x' * 10)}]\n{ALIASES}", [f"5:5: {TOO_MANY}"]),
    "a bomb of merges": Case(
        f"a: &a {{x: [{THOUSAND}]}}\nmain:\n  - evaluate:\n" + "      - {<<: *a}\n" * 60, [f"4:7: {TOO_MANY}"]
    ),
    "too many values": Case(
        "main:\n" + "- x\n" * 60_000, ["49999:3: The file holds more than 50,000 values. Split it."]
    ),
    "a chain without end": Case(
        f"main:\n  - if: inputs{'.a' * 50_000}\n    then: {{log: x}}\n",
        ["2:9: This template is wrong: it is nested too deeply."],
    ),
    "a template that nests too deeply": Case(
        f"main:\n  - if: {PARENTHESES}\n    then: {{log: x}}\n",
        ["2:9: This template is wrong: it is nested too deeply."],
    ),
}


def test_there_are_enough_cases() -> None:
    assert len(WRONG) >= 60


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_file_lists_every_problem_with_its_location(wrong: Case) -> None:
    with pytest.raises(InvalidTask) as raised:
        load_task(wrong.text)
    lines = str(raised.value).split("\n")
    assert len(lines) == len(wrong.expected), lines
    for line, expected in zip(lines, wrong.expected, strict=True):
        pattern = ".*".join(map(re.escape, f"task:{expected}".split("…")))
        assert re.fullmatch(pattern, line), f"{line}\n{expected}"


def test_a_file_is_named_in_its_problems(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text("main: []\n")
    with pytest.raises(InvalidTask, match=re.escape(f"{path}:1:1: `main` has no steps.")) as raised:
        load_task(path)
    assert [(each.mark.line, each.mark.column) for each in raised.value.problems] == [(1, 1)]


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_bytes(b"main: [log: \xff]\n")
    with pytest.raises(InvalidTask, match="not UTF-8 from byte 12 on"):
        load_task(str(path))


def test_a_missing_file_raises_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_task(tmp_path / "none.yaml")
