"""Runs a task, step by step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, NamedTuple

from sessions_client import Event, SessionsError
from sessions_tasks._calls import Calls, plain
from sessions_tasks._chat import Chat
from sessions_tasks._check import operations, session_parts
from sessions_tasks._errors import StepFailed, StepProblem
from sessions_tasks._forms import write_record
from sessions_tasks._journal import Journal
from sessions_tasks._model import (
    MAX_PARALLELISM,
    Block,
    ErrorStep,
    EvaluateStep,
    ForeachStep,
    IfStep,
    LogStep,
    MapStep,
    ParallelStep,
    PromptStep,
    ReturnStep,
    Step,
    SwitchStep,
    Task,
    ToolStep,
    Wait,
    WaitStep,
    YieldStep,
)
from sessions_tasks._progress import OnProgress, Progress, ProgressKind
from sessions_tasks._prompt import Prompt, Prompts, tools_of
from sessions_tasks._renderer import Renderer
from sessions_tasks._rendering import is_template
from sessions_tasks._scope import Scope
from sessions_tasks._tools import run_operation
from sessions_tasks._yaml import Node

MAX_STEPS: Final = 100_000
MAX_ITEMS: Final = 10_000
MAX_WORKFLOWS: Final = 16
"""How deep calls between workflows may nest."""


class _Return(Exception):
    """Carries an output out of its workflow."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


class At(NamedTuple):
    """The location of a step in the run, and the request id for its writes."""

    key: str
    request_id: str | None = None


class Run:
    """One run of a task."""

    def __init__(
        self,
        task: Task,
        calls: Calls,
        journal: Journal,
        renderer: Renderer,
        *,
        model: str | None,
        report: OnProgress,
    ) -> None:
        self._task, self._calls, self._journal, self._renderer = task, calls, journal, renderer
        self._model, self._report = model, report
        self._operations, self._parts = operations(task), session_parts(task)
        self._steps_left = MAX_STEPS
        self._handlers: Mapping[type[Step], Callable[[Any, Scope, At], Awaitable[Any]]] = {
            ToolStep: self._tool,
            PromptStep: self._prompt,
            EvaluateStep: self._evaluate,
            IfStep: self._if,
            SwitchStep: self._switch,
            ForeachStep: self._foreach,
            MapStep: self._map,
            ParallelStep: self._parallel,
            WaitStep: self._wait,
            YieldStep: self._yield,
            ReturnStep: self._return,
            ErrorStep: self._error,
            LogStep: self._log,
        }

    async def main(self, inputs: Any, env: Mapping[str, str]) -> Any:
        """Runs the task and returns its output. Raises StepFailed."""
        return await self._workflow("main", Scope(inputs, env), "main")

    async def _workflow(self, name: str, scope: Scope, key: str) -> Any:
        block = self._task.main if name == "main" else self._task.sections[name]
        try:
            for index, step in enumerate(block):
                scope = scope.after(await self._step(step, scope, f"{key}.{index}"))
        except _Return as returned:
            return returned.output
        return scope.last

    async def _block(self, block: Block, scope: Scope, key: str) -> Any:
        for index, step in enumerate(block):
            scope = replace(scope, last=await self._step(step, scope, f"{key}.{index}"))
        return scope.last

    async def _step(self, step: Step, scope: Scope, key: str) -> Any:
        self._steps_left -= 1
        try:
            if self._steps_left < 0:
                raise StepProblem(
                    f"The run has done {MAX_STEPS:,} steps, which is the limit. Split the task."
                )
            return await self._run_step(step, scope, key)
        except (StepProblem, RecursionError, SessionsError) as error:
            raise StepFailed(self._task.file, step.mark, key, step.KIND, _sentence(error)) from error

    async def _run_step(self, step: Step, scope: Scope, key: str) -> Any:
        """Runs a step once, and reports it."""
        skipped = self._journal.knows(key)
        self._report_progress(
            ProgressKind.SKIPPED if skipped else ProgressKind.STARTED, step, key, _subject(step)
        )
        handler = self._handlers[type(step)]
        if isinstance(step, _LEAVES):
            output = await self._journal.once(
                key, lambda request_id: handler(step, scope, At(key, request_id))
            )
        else:
            output = await handler(step, scope, At(key))
        if not skipped:
            self._report_progress(ProgressKind.FINISHED, step, key, _subject(step))
        return output

    def _report_progress(self, kind: ProgressKind, step: Step, key: str, text: str = "") -> None:
        self._report(Progress(kind, key, step.KIND, text))

    async def _value(self, node: Node, scope: Scope, *, bare: bool = False) -> Any:
        return await self._render(node.plain, scope, bare=bare)

    async def _render(self, value: Any, scope: Scope, *, bare: bool = False) -> Any:
        texts = [text for text in _texts(value) if bare or is_template(text)]
        if not texts:
            return value
        return await self._renderer.render(value, scope.names("\n".join(texts)), bare=bare)

    async def _expression(self, node: Node, scope: Scope) -> Any:
        return await self._value(node, scope, bare=isinstance(node.value, str))

    async def _items(self, node: Node, scope: Scope) -> list[Any]:
        items = await self._expression(node, scope)
        if not isinstance(items, list):
            raise StepProblem(f"It needs a list to go through, and has {Node(items).kind}.")
        if len(items) > MAX_ITEMS:
            raise StepProblem(f"It has {len(items):,} items to go through, and {MAX_ITEMS:,} is the limit.")
        return items

    async def _tool(self, step: ToolStep, scope: Scope, at: At) -> Any:
        arguments = await self._value(step.arguments, scope)
        operation = self._operations[step.tool]
        return await run_operation(
            self._calls, operation, arguments, request_id=at.request_id, parts=self._parts
        )

    async def _prompt(self, step: PromptStep, scope: Scope, at: At) -> str:
        messages = [await self._render(write_record(each), scope) for each in step.prompt]
        prompt = Prompt(
            model=step.model or self._model or "",
            messages=messages,
            session_id=await self._value(step.session_id, scope) if step.history else None,
            settings=await self._render(write_record(step.settings), scope),
            tools=tools_of(step, self._task.tools),
        )

        def report(kind: ProgressKind, text: str = "") -> None:
            self._report_progress(kind, step, at.key, text)

        async with aclosing(Chat(report)) as chat:
            return await Prompts(self._calls, chat, self._journal).run(prompt, at.key)

    async def _evaluate(self, step: EvaluateStep, scope: Scope, at: At) -> Any:
        return await self._value(step.evaluate, scope)

    async def _log(self, step: LogStep, scope: Scope, at: At) -> Any:
        line = await self._value(step.log, scope)
        self._report_progress(
            ProgressKind.LOG, step, at.key, line if isinstance(line, str) else json.dumps(line)
        )
        return scope.last

    async def _wait(self, step: WaitStep, scope: Scope, at: At) -> Any:
        wait = step.wait
        session_id = await self._value(wait.session_id, scope)
        timeout = await self._expression(wait.timeout, scope) if wait.timeout else None
        after = await self._position(wait, session_id, scope, at)
        types = wait.event_types or None
        try:
            async with asyncio.timeout(timeout):
                async with self._calls.subscribe(
                    session_id=session_id, event_types=types, after_sequence=after
                ) as events:
                    return await self._awaited(wait, events, scope)
        except TimeoutError:
            raise StepProblem(f"No such event came within {timeout:g} seconds.") from None

    async def _position(self, wait: Wait, session_id: str, scope: Scope, at: At) -> int:
        """The position to wait from. Kept in the journal, so that a resumed run misses no event."""

        async def head(request_id: str | None) -> Any:
            if wait.after_sequence is not None:
                return await self._expression(wait.after_sequence, scope)
            return (await self._calls.call("get", session_id=session_id)).last_sequence

        return int(await self._journal.once(f"{at.key}.position", head))

    async def _awaited(self, wait: Wait, events: AsyncIterator[Event], scope: Scope) -> Any:
        async for event in events:
            seen = plain(event)
            if wait.until is None or await self._expression(wait.until, scope.inside(scope.last, event=seen)):
                return seen
        raise StepProblem("The session was deleted before such an event came.")

    async def _if(self, step: IfStep, scope: Scope, at: At) -> Any:
        if await self._expression(step.if_, scope):
            return await self._block(step.then, scope, f"{at.key}.then")
        return await self._block(step.else_, scope, f"{at.key}.else")

    async def _switch(self, step: SwitchStep, scope: Scope, at: At) -> Any:
        for index, each in enumerate(step.switch):
            if each.case is None:
                return await self._block(each.else_, scope, f"{at.key}.{index}.else")
            if await self._expression(each.case, scope):
                return await self._block(each.then, scope, f"{at.key}.{index}.then")
        return scope.last

    async def _foreach(self, step: ForeachStep, scope: Scope, at: At) -> list[Any]:
        each = step.foreach
        items = await self._items(each.in_, scope)

        async def act(index: int) -> Any:
            inner = scope.inside(items[index], item=items[index], index=index)
            return await self._block(each.do, inner, f"{at.key}.do[{index}]")

        return await at_once(len(items), each.parallelism, act)

    async def _map(self, step: MapStep, scope: Scope, at: At) -> Any:
        items = await self._items(step.over, scope)

        async def act(index: int) -> Any:
            inner = scope.inside(items[index], item=items[index], index=index)
            return await self._block(step.map, inner, f"{at.key}.map[{index}]")

        outputs = await at_once(len(items), step.parallelism, act)
        if step.reduce is None:
            return outputs
        results = await self._value(step.initial, scope)
        for index, output in enumerate(outputs):
            inner = scope.inside(output, item=items[index], index=index, results=results)
            results = await self._expression(step.reduce, inner)
        return results

    async def _parallel(self, step: ParallelStep, scope: Scope, at: At) -> list[Any]:
        async def act(index: int) -> Any:
            return await self._block(step.parallel[index], scope, f"{at.key}.parallel[{index}]")

        return await at_once(len(step.parallel), MAX_PARALLELISM, act)

    async def _yield(self, step: YieldStep, scope: Scope, at: At) -> Any:
        if scope.depth >= MAX_WORKFLOWS:
            raise StepProblem(
                f"Workflows run each other more than {MAX_WORKFLOWS} deep. Does one run itself?"
            )
        inputs = await self._value(step.yield_.arguments, scope)
        inner = Scope(inputs, scope.env, depth=scope.depth + 1)
        return await self._workflow(step.yield_.workflow, inner, f"{at.key}.{step.yield_.workflow}")

    async def _return(self, step: ReturnStep, scope: Scope, at: At) -> Any:
        raise _Return(await self._value(step.return_, scope))

    async def _error(self, step: ErrorStep, scope: Scope, at: At) -> Any:
        message = await self._value(step.error, scope)
        raise StepProblem(message if isinstance(message, str) else json.dumps(message))


_LEAVES: Final = (ToolStep, PromptStep, EvaluateStep, WaitStep, LogStep)
"""Steps without inner steps. Only these are in the journal; the rest is derived from them."""


async def at_once(count: int, parallelism: int, act: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """The results of `act` for 0, 1, … in order, with at most `parallelism` running concurrently."""
    if parallelism == 1:
        return [await act(index) for index in range(count)]
    results: list[Any] = [None] * count
    numbers = iter(range(count))

    async def work() -> None:
        for index in numbers:
            results[index] = await act(index)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(parallelism, count)):
                group.create_task(work())
    except BaseExceptionGroup as failed:
        # The first failure cancelled the others.
        raise failed.exceptions[0] from failed.exceptions[0].__cause__
    return results


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _subject(step: Step) -> str:
    """The subject of a step, for progress reports."""
    match step:
        case ToolStep():
            return step.tool
        case YieldStep():
            return step.yield_.workflow
    return ""


def _sentence(error: Exception) -> str:
    match error:
        case SessionsError():
            return f"{type(error).__name__}: {error}"
        case RecursionError():
            return "The steps nest too deeply. Flatten them."
    return str(error)
