"""Workflows in YAML that work with sessions.

    from sessions_client import Client
    from sessions_tasks import run_task

    output = run_task(Client("127.0.0.1:50051"), "task.yaml", {"session_id": "s1", "query": "How does this work?"})

Needs the extra `tasks`. Everything public is named here; the modules are private.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if not all(map(find_spec, ("jinja2", "jsonschema", "openai", "rich", "typer", "yaml"))):
    sentence = "Tasks need further packages. Install them with `pip install 'sessions[tasks]'`."
    # `-m` takes the place of the program's path while Python looks for what to run: as a program, by
    # `python -m sessions_tasks`, this ends with the sentence alone.
    if sys.argv[:1] == ["-m"] and __name__ in sys.orig_argv:
        sys.exit(sentence)
    raise ModuleNotFoundError(sentence)

from sessions_tasks._definitions import tool_definitions
from sessions_tasks._errors import (
    InvalidInputs,
    InvalidTask,
    Mark,
    Problem,
    RunConflict,
    StepFailed,
    TaskError,
)
from sessions_tasks._load import load_task, print_task
from sessions_tasks._model import Task
from sessions_tasks._progress import Progress, ProgressKind
from sessions_tasks._task import run_task
from sessions_tasks._tools import call_tool

__all__ = [
    "InvalidInputs",
    "InvalidTask",
    "Mark",
    "Problem",
    "Progress",
    "ProgressKind",
    "RunConflict",
    "StepFailed",
    "Task",
    "TaskError",
    "call_tool",
    "load_task",
    "print_task",
    "run_task",
    "tool_definitions",
]
