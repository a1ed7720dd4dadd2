"""Runs a task from Python."""

from __future__ import annotations

import json
import os
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Final, overload

from sessions_client import AsyncClient, Client
from sessions_tasks._calls import Calls
from sessions_tasks._errors import InvalidInputs
from sessions_tasks._journal import NoJournal, SessionJournal
from sessions_tasks._load import load_task, print_task
from sessions_tasks._model import PromptStep, Task, records_of
from sessions_tasks._progress import OnProgress, Progress
from sessions_tasks._renderer import Renderer
from sessions_tasks._run import Run
from sessions_tasks._schemas import violations
from sessions_tasks._tools import of_either

MODEL_VARIABLE: Final = "SESSIONS_TASK_MODEL"
Source = Task | str | os.PathLike[str]


@overload
def run_task(
    client: Client,
    task: Source,
    inputs: Mapping[str, Any] | None = None,
    *,
    run_id: str | None = None,
    model: str | None = None,
    on_progress: OnProgress | None = None,
) -> Any: ...


@overload
def run_task(
    client: AsyncClient,
    task: Source,
    inputs: Mapping[str, Any] | None = None,
    *,
    run_id: str | None = None,
    model: str | None = None,
    on_progress: OnProgress | None = None,
) -> Coroutine[Any, Any, Any]: ...


def run_task(
    client: Client | AsyncClient,
    task: Source,
    inputs: Mapping[str, Any] | None = None,
    *,
    run_id: str | None = None,
    model: str | None = None,
    on_progress: OnProgress | None = None,
) -> Any:
    """Runs a task and returns its output as JSON: that of `return`, or of the last step.

    With an `AsyncClient` the result is awaited. `task` is what `load_task` returned, a path, or the YAML. A run with a
    `run_id` keeps its progress in the session `task-run:RUN_ID`: called again with the same id, task and inputs, it
    continues where it stopped, and after the end returns the same output. `model` is for prompts that name none; it
    defaults to the variable SESSIONS_TASK_MODEL. `on_progress` is called in the thread that runs the task.

    Raises InvalidTask, InvalidInputs, RunConflict, and StepFailed with file, line and key.
    """
    loaded = task if isinstance(task, Task) else load_task(task)
    given = _checked_inputs(loaded, inputs or {})
    model = model or os.environ.get(MODEL_VARIABLE)
    _require_model(loaded, model)
    env, report = _environment(loaded), on_progress or _ignore

    async def run(calls: Calls) -> Any:
        async with aclosing(Renderer()) as renderer:
            if run_id is None:
                return await Run(loaded, calls, NoJournal(), renderer, model=model, report=report).main(
                    given, env
                )
            journal = SessionJournal(calls, run_id)
            await journal.open(task=print_task(loaded), name=loaded.name or loaded.file, inputs=given)
            work = Run(loaded, calls, journal, renderer, model=model, report=report)
            output = await journal.once("output", lambda request_id: work.main(given, env))
            await journal.finish()
            return output

    return of_either(client, run)


def _ignore(progress: Progress) -> None:
    """The default `on_progress`, which does nothing."""


def _checked_inputs(task: Task, inputs: Mapping[str, Any]) -> Any:
    try:
        text = json.dumps(dict(inputs), allow_nan=False, ensure_ascii=False)
        text.encode()
        given = json.loads(text)
    except UnicodeEncodeError as error:
        raise InvalidInputs(
            "The inputs have half of a surrogate pair, which is not valid Unicode."
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputs(f"The inputs are not JSON: {error}.") from error
    wrong = [] if task.input_schema is None else [*violations(task.input_schema.plain, given)]
    if wrong:
        raise InvalidInputs("\n".join(f"The inputs are wrong: {said}." for said in wrong))
    return given


def _environment(task: Task) -> dict[str, str]:
    missing = [name for name in task.env if name not in os.environ]
    if missing:
        raise InvalidInputs(
            f"The environment lacks {', '.join(missing)}, which the file names in `env`. Set it."
        )
    return {name: os.environ[name] for name in task.env}


def _require_model(task: Task, model: str | None) -> None:
    for each in records_of(task):
        if isinstance(each, PromptStep) and not each.model and not model:
            raise InvalidInputs(
                f"{task.file}:{each.mark.line}: The prompt names no model. Give the step a `model`, use --model "
                f"(model= in Python), or set {MODEL_VARIABLE}."
            )
