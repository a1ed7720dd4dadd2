"""The model of a task: its steps, their keys, and the forms of these. Reading, printing and checking derive from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeAlias

from sessions_client import EventType
from sessions_tasks._forms import (
    EXPRESSION,
    FLAG,
    MAPPING,
    NAME,
    TEXT,
    VALUE,
    Checked,
    ListOf,
    Problems,
    Record,
    RecordOf,
    key,
    keys_of,
    listed,
    nearest,
    one_of,
    read_record,
    short,
    whole,
    write_record,
)
from sessions_tasks._yaml import Node

MAX_PARALLELISM: Final = 100
ALL: Final = "all"
Names: TypeAlias = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Step(Record):
    """One step. Its kind is the first key of its class."""

    KIND: ClassVar[str]
    NAMES: ClassVar[Names] = {}
    """The names that templates under a key may use, in addition to those available at the step."""

    def __init_subclass__(cls) -> None:
        cls.TITLE = f"The step `{cls.KIND}`"


Block: TypeAlias = tuple[Step, ...]


class _StepForm:
    """A mapping with exactly one of the keys that identify a kind of step."""

    def read(self, node: Node, problems: Problems) -> Step:
        if not isinstance(node.value, Mapping):
            problems.add(node.mark, f"A step must be a mapping such as `log: text`, not {node.kind}.")
            return Step(mark=node.mark)
        kinds = [name for name in node.value if name in STEPS]
        if len(kinds) == 1:
            return read_record(STEPS[kinds[0]], node, problems)
        if kinds:
            message = f"A step does one thing, and this one has {listed(kinds)}. Make each a separate step."
        else:
            first = next(iter(node.value), "")
            message = f"This is not a step: `{short(first)}` is not a kind of step. {nearest(first, STEPS)}"
        problems.add(node.keys[kinds[1]] if kinds else node.mark, message)
        return Step(mark=node.mark)

    def write(self, value: Step) -> Any:
        return write_record(value)


BLOCK: Final = ListOf(_StepForm(), alone=True)


@dataclass(frozen=True, kw_only=True)
class ToolStep(Step):
    """Calls a tool; its output is what the tool returns."""

    KIND = "tool"
    tool: str = key(NAME)
    arguments: Node = key(MAPPING, Node({}))


@dataclass(frozen=True, kw_only=True)
class Message(Record):
    """A message of a prompt."""

    TITLE = "A message"
    role: str = key(one_of("system", "developer", "user", "assistant"))
    content: Node = key(VALUE)
    name: str | None = key(TEXT, None)


class _MessagesForm(ListOf[Message]):
    """A list of messages, or a string as a single user message."""

    def read(self, node: Node, problems: Problems) -> tuple[Message, ...]:
        if isinstance(node.value, str):
            return (Message(mark=node.mark, role="user", content=node),)
        messages = super().read(node, problems)
        if node.value == ():
            problems.add(node.mark, "A prompt needs at least one message.")
        return messages


class _ToolsForm(ListOf[str]):
    """A list of names, or `all`."""

    def read(self, node: Node, problems: Problems) -> tuple[str, ...]:
        return (ALL,) if node.value == ALL else super().read(node, problems)

    def write(self, value: tuple[str, ...]) -> Any:
        return ALL if value == (ALL,) else super().write(value)


NUMBER: Final = Checked[float](
    "a number", lambda it: isinstance(it, int | float) and not isinstance(it, bool)
)


@dataclass(frozen=True, kw_only=True)
class Settings(Record):
    """The parameters of the model, named as in the chat completions API."""

    TITLE = "`settings`"
    temperature: float | None = key(NUMBER, None)
    top_p: float | None = key(NUMBER, None)
    max_tokens: int | None = key(whole(1, 10_000_000), None)
    max_completion_tokens: int | None = key(whole(1, 10_000_000), None)
    presence_penalty: float | None = key(NUMBER, None)
    frequency_penalty: float | None = key(NUMBER, None)
    seed: int | None = key(whole(-(2**53), 2**53), None)
    stop: tuple[str, ...] | None = key(ListOf(TEXT, alone=True), None)
    reasoning_effort: str | None = key(TEXT, None)
    response_format: Node | None = key(MAPPING, None)


@dataclass(frozen=True, kw_only=True)
class PromptStep(Step):
    """Asks a model; its output is the text of the response."""

    KIND = "prompt"
    prompt: tuple[Message, ...] = key(_MessagesForm(RecordOf(Message)))
    model: str | None = key(TEXT, None)
    tools: tuple[str, ...] = key(_ToolsForm(NAME), ())
    history: bool = key(FLAG, False)
    session_id: Node = key(VALUE, Node("{{ inputs.session_id }}"))
    settings: Settings = key(RecordOf(Settings), Settings())


@dataclass(frozen=True, kw_only=True)
class EvaluateStep(Step):
    """Its output is the value."""

    KIND = "evaluate"
    evaluate: Node = key(VALUE)


@dataclass(frozen=True, kw_only=True)
class IfStep(Step):
    """Its output is that of the branch taken."""

    KIND = "if"
    if_: Node = key(EXPRESSION)
    then: Block = key(BLOCK)
    else_: Block = key(BLOCK, ())


@dataclass(frozen=True, kw_only=True)
class Case(Record):
    """A case of a switch: `case` with `then`, or at the end `else`."""

    TITLE = "A case"
    case: Node | None = key(EXPRESSION, None)
    then: Block = key(BLOCK, ())
    else_: Block = key(BLOCK, ())


@dataclass(frozen=True, kw_only=True)
class SwitchStep(Step):
    """Runs the first case that holds."""

    KIND = "switch"
    switch: tuple[Case, ...] = key(ListOf(RecordOf(Case)))


@dataclass(frozen=True, kw_only=True)
class Foreach(Record):
    """The list, and what to do for each item."""

    TITLE = "`foreach`"
    in_: Node = key(EXPRESSION)
    do: Block = key(BLOCK)
    parallelism: int = key(whole(1, MAX_PARALLELISM), 1)


@dataclass(frozen=True, kw_only=True)
class ForeachStep(Step):
    """Its output is the list of outputs."""

    KIND = "foreach"
    NAMES: ClassVar[Names] = {"do": ("item", "index")}
    foreach: Foreach = key(RecordOf(Foreach))


@dataclass(frozen=True, kw_only=True)
class MapStep(Step):
    """Maps each item to an output; with `reduce` folds these into one."""

    KIND = "over"
    NAMES: ClassVar[Names] = {"map": ("item", "index"), "reduce": ("results", "item", "index")}
    over: Node = key(EXPRESSION)
    map: Block = key(BLOCK)
    reduce: Node | None = key(EXPRESSION, None)
    initial: Node = key(VALUE, Node(()))
    parallelism: int = key(whole(1, MAX_PARALLELISM), 1)


@dataclass(frozen=True, kw_only=True)
class ParallelStep(Step):
    """Runs all branches concurrently; its output is the list of their outputs."""

    KIND = "parallel"
    parallel: tuple[Block, ...] = key(ListOf(BLOCK))


EVENT_TYPES: Final = tuple(str(each) for each in EventType if each is not EventType.UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class Wait(Record):
    """The event to wait for."""

    TITLE = "`wait`"
    session_id: Node = key(VALUE)
    event_types: tuple[str, ...] = key(ListOf(one_of(*EVENT_TYPES), alone=True), ())
    until: Node | None = key(EXPRESSION, None)
    after_sequence: Node | None = key(EXPRESSION, None)
    timeout: Node | None = key(EXPRESSION, None)


@dataclass(frozen=True, kw_only=True)
class WaitStep(Step):
    """Waits for an event of a session; its output is the event."""

    KIND = "wait"
    NAMES: ClassVar[Names] = {"until": ("event",)}
    wait: Wait = key(RecordOf(Wait))


@dataclass(frozen=True, kw_only=True)
class Yield(Record):
    """The workflow and its inputs."""

    TITLE = "`yield`"
    workflow: str = key(NAME)
    arguments: Node = key(MAPPING, Node({}))


@dataclass(frozen=True, kw_only=True)
class YieldStep(Step):
    """Runs another workflow of the file; its output is that workflow's."""

    KIND = "yield"
    yield_: Yield = key(RecordOf(Yield))


@dataclass(frozen=True, kw_only=True)
class ReturnStep(Step):
    """Ends the workflow with an output."""

    KIND = "return"
    return_: Node = key(VALUE)


@dataclass(frozen=True, kw_only=True)
class ErrorStep(Step):
    """Fails the run with a sentence."""

    KIND = "error"
    error: Node = key(VALUE)


@dataclass(frozen=True, kw_only=True)
class LogStep(Step):
    """Shows a line. `_` stays unchanged."""

    KIND = "log"
    log: Node = key(VALUE)


STEPS: Final[Mapping[str, type[Step]]] = {each.KIND: each for each in Step.__subclasses__()}


@dataclass(frozen=True, kw_only=True)
class System(Record):
    """The operation of a session that a tool performs."""

    TITLE = "`system`"
    resource: str = key(one_of("agent"))
    subresource: str = key(one_of("session"))
    operation: str = key(TEXT)


@dataclass(frozen=True, kw_only=True)
class Tool(Record):
    """A name for an operation; `description` is for the model."""

    TITLE = "A tool"
    name: str = key(NAME)
    system: System = key(RecordOf(System))
    description: str | None = key(TEXT, None)


@dataclass(frozen=True, kw_only=True)
class Task(Record):
    """A validated file. Created by `load_task`; `print_task` returns its YAML."""

    TITLE = "A task"
    name: str | None = key(TEXT, None)
    description: str | None = key(TEXT, None)
    input_schema: Node | None = key(MAPPING, None)
    env: tuple[str, ...] = key(ListOf(NAME), ())
    tools: tuple[Tool, ...] = key(ListOf(RecordOf(Tool)), ())
    main: Block = key(BLOCK)
    sections: Mapping[str, Block] = field(default_factory=dict)
    """The other workflows, by name."""
    file: str = field(default="task", compare=False)


def flat(value: Any) -> Iterator[Any]:
    """A value, or every item in its nested lists."""
    if isinstance(value, tuple):
        for each in value:
            yield from flat(each)
    else:
        yield value


def blocks_of(task: Task) -> tuple[Block, ...]:
    """The workflows of a task."""
    return (task.main or (), *task.sections.values())


def records_of(task: Task) -> Iterator[Record]:
    """Every step and mapping of a task, at all levels."""
    for step in flat(blocks_of(task)):
        yield from _within(step)


def _within(record: Record) -> Iterator[Record]:
    yield record
    for known in keys_of(type(record)).values():
        for each in flat(getattr(record, known.attribute)):
            if isinstance(each, Record):
                yield from _within(each)
