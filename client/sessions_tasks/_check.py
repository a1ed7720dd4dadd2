"""Checks that the names, tools, workflows and templates of a task fit together. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import jinja2
from jinja2 import nodes

from sessions_tasks import _rendering
from sessions_tasks._errors import Mark
from sessions_tasks._forms import ExpressionForm, Problems, Record, keys_of, nearest, readable, short
from sessions_tasks._model import (
    ALL,
    ForeachStep,
    MapStep,
    ParallelStep,
    PromptStep,
    ReturnStep,
    Step,
    SwitchStep,
    Task,
    ToolStep,
    Yield,
    blocks_of,
    flat,
    records_of,
)
from sessions_tasks._operations import OPERATIONS, Operation
from sessions_tasks._schemas import schema_problem, violations
from sessions_tasks._yaml import Node

NAMES: Final = frozenset({_rendering.LAST, "inputs", "steps", "env"})
"""Names that every template may use."""


def check(task: Task, problems: Problems) -> None:
    """Reports everything that does not fit together."""
    _check_head(task, problems)
    for block in blocks_of(task):
        checker = _Checker(task, problems)
        for index, step in enumerate(block):
            checker.finished = index
            checker.step(step, NAMES, concurrent=False)


def operations(task: Task) -> dict[str, Operation]:
    """The operation behind each tool of the file."""
    return {each.name: OPERATIONS[each.system.operation] for each in task.tools}


def _check_head(task: Task, problems: Problems) -> None:
    for tool in task.tools:
        name = readable(tool.system.operation) if readable(tool.system) else None
        if name is not None and name not in OPERATIONS:
            message = f"There is no operation `{short(name)}` of a session. {nearest(name, OPERATIONS)}"
            problems.add(tool.system.at("operation"), message)
    for name, count in Counter(tool.name for tool in task.tools).items():
        if readable(name) and count > 1:
            last = [tool for tool in task.tools if tool.name == name][-1]
            problems.add(last.at("name"), f"There are {count} tools named `{name}`. Give each its own name.")
    if task.main == ():
        problems.add(task.at("main"), "`main` has no steps. Add at least one.")
    if task.input_schema is not None and (said := schema_problem(task.input_schema.plain)):
        problems.add(task.input_schema.mark, f"`input_schema` is not a JSON Schema: {said}.")
    _check_sections(task, problems)


def _check_sections(task: Task, problems: Problems) -> None:
    """A section that nothing runs and whose name resembles a key is probably a misspelt key."""
    used = {each.workflow for each in records_of(task) if isinstance(each, Yield)}
    for name in task.sections.keys() - used:
        guess = nearest(name, keys_of(Task))
        if guess.startswith("Did"):
            problems.add(task.at(name), f"A task has no key `{name}`. {guess}")


class _Checker:
    """Checks the steps of one workflow."""

    def __init__(self, task: Task, problems: Problems) -> None:
        self._task, self._problems = task, problems
        self._tools = {
            each.name: OPERATIONS.get(each.system.operation) if readable(each.system) else None
            for each in task.tools
            if readable(each.name)
        }
        self.finished = 0
        """How many steps of the workflow precede the one being checked."""

    def step(self, step: Step, names: frozenset[str], *, concurrent: bool) -> None:
        match step:
            case ToolStep():
                self._tool(step)
            case PromptStep():
                self._prompt(step)
            case SwitchStep():
                self._cases(step)
            case ReturnStep() if concurrent:
                message = "`return` cannot be among steps that run at once. Return after them."
                self._problems.add(step.mark, message)
        concurrent = concurrent or isinstance(step, ParallelStep) or _parallelism(step) > 1
        self._record(step, names, step.NAMES, concurrent=concurrent)

    def _record(
        self, record: Record, names: frozenset[str], more: Mapping[str, tuple[str, ...]], *, concurrent: bool
    ) -> None:
        for name, key in keys_of(type(record)).items():
            known = names.union(more.get(name, ()))
            for part in flat(getattr(record, key.attribute)):
                if isinstance(part, Node):
                    self._node(part, known, bare=isinstance(key.form, ExpressionForm))
                elif isinstance(part, Step):
                    self.step(part, known, concurrent=concurrent)
                elif isinstance(part, Yield):
                    self._workflow(part)
                    self._record(part, known, more, concurrent=concurrent)
                elif isinstance(part, Record):
                    self._record(part, known, more, concurrent=concurrent)

    def _node(self, node: Node, names: frozenset[str], *, bare: bool) -> None:
        for leaf in node.leaves():
            if isinstance(leaf.value, str) and (
                (bare and leaf is node) or _rendering.is_template(leaf.value)
            ):
                self._template(leaf.value, leaf.mark, names, bare=bare and leaf is node)

    def _template(self, text: str, mark: Mark, names: frozenset[str], *, bare: bool) -> None:
        try:
            self._parsed(_rendering.parse(text, bare=bare), mark, names)
        except jinja2.TemplateSyntaxError as error:
            self._problems.add(mark, f"This template is wrong: {(error.message or '').rstrip('.')}.")
        except RecursionError:
            self._problems.add(mark, "This template is wrong: it is nested too deeply.")

    def _parsed(self, tree: nodes.Template, mark: Mark, names: frozenset[str]) -> None:
        for name in sorted(_rendering.names_in(tree) - names):
            self._problems.add(
                mark,
                f"The template uses `{short(name)}`, which is not known here. {nearest(name, sorted(names))}",
            )
        self._functions(tree, mark)
        for base, attribute in _rendering.attributes_of(tree):
            self._attribute(base, attribute, mark)

    def _functions(self, tree: nodes.Template, mark: Mark) -> None:
        if any(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends))):
            self._problems.add(mark, "A template cannot include others. Write it in one piece.")
        made = _rendering.environment()
        for kind, known, what in ((nodes.Filter, made.filters, "filter"), (nodes.Test, made.tests, "test")):
            for each in tree.find_all(kind):
                if each.name not in known:
                    said = f"There is no {what} `{short(each.name)}`. {nearest(each.name, sorted(known))}"
                    self._problems.add(mark, said)

    def _attribute(self, base: str, attribute: str | int, mark: Mark) -> None:
        if base == "env" and attribute not in self._task.env:
            self._problems.add(mark, f"The file does not name the variable `{attribute}`. Add it to `env`.")
        if base == "steps" and isinstance(attribute, int) and attribute >= self.finished:
            done = f"{self.finished} step{' is' if self.finished == 1 else 's are'}"
            message = f"`steps[{attribute}]` is not done by then; {done}. They count from 0."
            self._problems.add(mark, message)
        schema = self._task.input_schema.plain if self._task.input_schema else {}
        if base == "inputs" and schema.get("additionalProperties") is False:
            known = schema.get("properties", {})
            if attribute not in known:
                said = f"`input_schema` has no input `{attribute}`. {nearest(str(attribute), known)}"
                self._problems.add(mark, said)

    def _tool(self, step: ToolStep) -> None:
        operation = self._operation(readable(step.tool), step.at("tool"))
        if operation is None:
            return
        given = step.arguments.mapping
        for name in given.keys() - operation.arguments.keys():
            message = (
                f"`{operation.name}` has no argument `{short(name)}`. {nearest(name, operation.arguments)}"
            )
            self._problems.add(step.arguments.keys[name], message)
        for message in missing_arguments(operation, given):
            self._problems.add(step.at("arguments"), message)
        for name in given.keys() & operation.arguments.keys():
            if _is_literal(given[name]):
                for said in violations(operation.arguments[name], given[name].plain):
                    self._problems.add(step.arguments.keys[name], f"The argument `{name}` is wrong: {said}.")

    def _operation(self, name: str | None, mark: Mark) -> Operation | None:
        if name is None:
            return None
        if name not in self._tools:
            said = f"The file has no tool `{short(name)}`. "
            self._problems.add(
                mark, said + (nearest(name, self._tools) if self._tools else "Add it to `tools`.")
            )
        return self._tools.get(name)

    def _prompt(self, step: PromptStep) -> None:
        for name in step.tools if step.tools != (ALL,) else ():
            self._operation(readable(name), step.at("tools"))

    def _workflow(self, record: Yield) -> None:
        name = readable(record.workflow)
        known = [*self._task.sections, "main"]
        if name is not None and name not in known:
            message = f"The file has no workflow `{short(name)}`. {nearest(name, known)}"
            self._problems.add(record.at("workflow"), message)

    def _cases(self, step: SwitchStep) -> None:
        if not step.switch:
            self._problems.add(step.mark, "A switch needs at least one case.")
        for each in step.switch:
            whole = each.case is not None and each.then and not each.else_
            final = each is step.switch[-1] and each.else_ and each.case is None and not each.then
            if not whole and not final:
                message = "A case has `case` and `then`; only the last may be `else` alone."
                self._problems.add(each.mark, message)


def missing_arguments(operation: Operation, given: Iterable[str]) -> Iterator[str]:
    """A sentence for each missing argument."""
    names = set(given)
    for name in operation.required:
        if name not in names:
            yield f"`{operation.name}` needs the argument `{name}`. Add it."
    if operation.any_of and not any(names.issuperset(group) for group in operation.any_of):
        groups = " or ".join(" with ".join(f"`{name}`" for name in group) for group in operation.any_of)
        yield f"`{operation.name}` needs {groups}. Add one."


def _is_literal(node: Node) -> bool:
    return not any(
        isinstance(leaf.value, str) and _rendering.is_template(leaf.value) for leaf in node.leaves()
    )


def _parallelism(step: Step) -> int:
    match step:
        case ForeachStep():
            return step.foreach.parallelism or 1 if readable(step.foreach) else 1
        case MapStep():
            return step.parallelism or 1
    return 1


def session_parts(task: Task) -> frozenset[str]:
    """Those of `context` and `history` that the templates of a task use. A `get` fetches them with the session."""
    texts = [
        text
        for record in records_of(task)
        for node, bare in _nodes(record)
        for text in _templates(node, bare=bare)
    ]
    return frozenset(part for part in ("context", "history") if any(part in text for text in texts))


def _nodes(record: Record) -> Iterator[tuple[Node, bool]]:
    for key in keys_of(type(record)).values():
        for part in flat(getattr(record, key.attribute)):
            if isinstance(part, Node):
                yield part, isinstance(key.form, ExpressionForm)


def _templates(node: Node, *, bare: bool) -> Iterator[str]:
    for leaf in node.leaves():
        if isinstance(leaf.value, str) and (bare or _rendering.is_template(leaf.value)):
            yield leaf.value
