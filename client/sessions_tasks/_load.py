"""Converts between text and tasks. All problems of a file are found at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sessions_tasks._check import check
from sessions_tasks._errors import InvalidTask, Problem
from sessions_tasks._forms import NAME, Problems, keys_of, read_record, write_record
from sessions_tasks._model import BLOCK, Task
from sessions_tasks._yaml import MAX_BYTES, START, BadYaml, Node, read_yaml, write_yaml

if TYPE_CHECKING:
    import os

TEXT_NAME: Final = "task"


def load_task(source: str | os.PathLike[str]) -> Task:
    """Reads and checks a task without running it.

    `source` is a path, or the YAML itself, recognized by a line break. Raises InvalidTask, which lists everything that
    is wrong with line and column, and OSError for a file that cannot be read.
    """
    if isinstance(source, str) and "\n" in source:
        return read_task(source, file=TEXT_NAME)
    path = Path(source)
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = Problem(START, f"The file is not UTF-8 from byte {error.start} on. Save it as UTF-8.")
        raise InvalidTask(str(path), [problem]) from None
    return read_task(text, file=str(path))


def read_task(text: str, *, file: str) -> Task:
    """Like `load_task`, for a string with a given name. Raises InvalidTask."""
    try:
        node = read_yaml(text)
    except BadYaml as error:
        raise InvalidTask(file, error.problems) from error
    problems = Problems()
    task = _task(node, file, problems)
    check(task, problems)
    if problems:
        raise InvalidTask(file, problems)
    return task


def print_task(task: Task) -> str:
    """The YAML of a task. Loading it gives an equal task; comments are lost, and aliases are expanded."""
    sections = {name: BLOCK.write(block) for name, block in task.sections.items()}
    return write_yaml({**write_record(task), **sections})


def _task(node: Node, file: str, problems: Problems) -> Task:
    if not isinstance(node.value, Mapping):
        problems.add(
            node.mark, f"A task must be a mapping with `main:` and a list of steps, not {node.kind}."
        )
        return Task(file=file)
    known = keys_of(Task)
    lists = {
        name: each for name, each in node.value.items() if name not in known and isinstance(each.value, tuple)
    }
    rest = {name: each for name, each in node.value.items() if name not in lists}
    for name in lists:
        NAME.read(Node(name, node.keys[name]), problems)
    task = read_record(Task, Node(rest, node.mark, node.keys), problems)
    sections = {name: BLOCK.read(each, problems) for name, each in lists.items()}
    return Task(**{**vars(task), "sections": sections, "file": file})
