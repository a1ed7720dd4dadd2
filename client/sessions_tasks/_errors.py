"""The errors of loading and running tasks.

TaskError
 +-- InvalidTask     the file is wrong; `problems` lists everything at once
 +-- InvalidInputs   the inputs do not match the task's `input_schema`; also a ValueError
 +-- RunConflict     the run id belongs to another task, other inputs, or a run in another process
 +-- StepFailed      a step failed; says which file, line and key
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault in a file."""

    mark: Mark
    message: str


class TaskError(Exception):
    """A task could not be loaded or run."""


class InvalidTask(TaskError):
    """The file is not a valid task. The text has one line per problem, in the format of compilers."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        lines = (f"{file}:{each.mark.line}:{each.mark.column}: {each.message}" for each in self.problems)
        super().__init__("\n".join(lines))


class InvalidInputs(TaskError, ValueError):
    """The inputs do not match the task's `input_schema`."""


class RunConflict(TaskError):
    """The run id cannot be continued: it belongs to another task, other inputs, or a run in another process."""


class StepFailed(TaskError):
    """A step failed. `key` is the step's path from its workflow, such as `main.2.then.0`; the cause is `__cause__`."""

    def __init__(self, file: str, mark: Mark, key: str, kind: str, message: str) -> None:
        self.file, self.line, self.column = file, mark.line, mark.column
        self.key, self.kind, self.message = key, kind, message
        super().__init__(f"{file}:{mark.line}:{mark.column}: {key} ({kind}): {message}")


class StepProblem(Exception):
    """Why a step cannot be done. The runner adds the location."""
