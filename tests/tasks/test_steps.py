"""Each kind of step does what the docs page says, with both clients."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from pathlib import Path

import pytest

from sessions_client import AsyncClient, Session
from sessions_tasks import InvalidInputs, Progress, ProgressKind, StepFailed, run_task
from sessions_tasks._operations import OPERATIONS
from tests.support.cases import Case, read_cases
from tests.tasks.conftest import TOOLS, RunTask

HERE = Path(__file__).parent
OUTPUTS, FAILURES = read_cases(HERE / "steps.txt"), read_cases(HERE / "failing_steps.txt")
INPUTS = {"n": 2, "list": ["a", "b", "c"]}


@pytest.mark.parametrize("case", OUTPUTS.values(), ids=OUTPUTS)
async def test_the_output_is(observer: AsyncClient, case: Case) -> None:
    [expected] = case.expected
    assert await run_task(observer, f"main:\n{case.text}", INPUTS) == json.loads(expected)


@pytest.mark.parametrize("case", FAILURES.values(), ids=FAILURES)
async def test_a_failed_step_says_where_and_why(observer: AsyncClient, case: Case) -> None:
    [expected] = case.expected
    with pytest.raises(StepFailed) as raised:
        await run_task(observer, f"main:\n{case.text}{TOOLS}", INPUTS)
    message = str(raised.value)
    assert re.fullmatch(".*".join(map(re.escape, f"task:{expected}".split("…"))), message), message
    where = f"task:{raised.value.line}:{raised.value.column}: {raised.value.key} ({raised.value.kind}): "
    assert message == where + raised.value.message


async def test_an_endless_run_is_stopped(run: RunTask) -> None:
    inner = "{foreach: {in: [1, 2, 3, 4, 5], do: {if: true, then: {evaluate: 1}}}}"
    text = f"main:\n- foreach: {{in: range(10000), do: {inner}}}\n"
    with pytest.raises(StepFailed, match="100,000 steps, which is the limit"):
        await run(text)


async def test_inputs_are_checked_before_anything_runs(
    run: RunTask, session: Session, observer: AsyncClient
) -> None:
    head = "input_schema:\n  properties: {n: {type: integer}}\n  required: [n, session_id]\n"
    add = f"{{session_id: {session.id}, role: user, content: x}}"
    text = f"{head}main:\n- tool: add_message\n  arguments: {add}\n"
    with pytest.raises(InvalidInputs) as raised:
        await run(text, {"n": "1"})
    assert str(raised.value).splitlines() == [
        "The inputs are wrong: 'session_id' is a required property.",
        "The inputs are wrong: `n`: '1' is not of type 'integer'.",
    ]
    with pytest.raises(InvalidInputs, match="not JSON"):
        await run(text, {"n": object()})
    with pytest.raises(InvalidInputs, match="half of a surrogate pair"):
        await run(text, {"n": 1, "session_id": "\ud800"})
    assert await observer.sessions.get_history(session.id) == []


async def test_only_named_variables_are_seen(run: RunTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOWN", "s")
    assert await run("env: [SHOWN]\nmain:\n- evaluate: '{{ [env.SHOWN, env | length] }}'\n") == ["s", 1]
    with pytest.raises(InvalidInputs, match="The environment lacks NOT_SET"):
        await run("env: [NOT_SET]\nmain:\n- log: x\n")


async def test_progress_reports_each_step(run: RunTask) -> None:
    seen: list[Progress] = []
    await run("main:\n- log: 'n is {{ inputs.n }}'\n- evaluate: 1\n", {"n": 2}, on_progress=seen.append)
    assert [(each.kind, each.key, each.step, each.text) for each in seen] == [
        (ProgressKind.STARTED, "main.0", "log", ""),
        (ProgressKind.LOG, "main.0", "log", "n is 2"),
        (ProgressKind.FINISHED, "main.0", "log", ""),
        (ProgressKind.STARTED, "main.1", "evaluate", ""),
        (ProgressKind.FINISHED, "main.1", "evaluate", ""),
    ]


async def test_a_wait_ends_with_the_awaited_event(
    run: RunTask, session: Session, observer: AsyncClient
) -> None:
    text = """
main:
- parallel:
  - wait:
      session_id: "{{ inputs.session_id }}"
      event_types: message
      until: event.data.content == "go"
      after_sequence: inputs.after
  - foreach:
      in: ["ready", "go", "gone"]
      do: {tool: add_message, arguments: {session_id: "{{ inputs.session_id }}", role: user, content: _}}
- evaluate: "{{ _[0].data.content }}"
"""
    assert await run(text, {"session_id": session.id, "after": session.last_sequence}) == "go"
    assert len(await observer.sessions.get_history(session.id)) == 3


async def test_a_wait_without_a_position_starts_now(run: RunTask, session: Session) -> None:
    text = """
main:
- parallel:
  - wait: {session_id: "{{ inputs.session_id }}", event_types: [state_change, message]}
  - [{wait: {session_id: "{{ inputs.session_id }}", timeout: 0.3, event_types: deleted}}]
"""
    with pytest.raises(
        StepFailed, match=r"parallel\[1\].0 \(wait\): No such event came within 0.3 seconds\."
    ):
        await run(text, {"session_id": session.id})


async def test_a_wait_ends_when_the_session_is_deleted(
    run: RunTask, session: Session, observer: AsyncClient
) -> None:
    text = "main:\n- wait: {session_id: '{{ inputs.session_id }}', event_types: message, after_sequence: 0}\n"
    waiting = asyncio.create_task(run(text, {"session_id": session.id}))
    await observer.sessions.start(session.id)
    await observer.sessions.delete(session.id)
    with pytest.raises(StepFailed, match=r"The session was deleted before such an event came|NotFound"):
        await waiting


async def test_every_operation_can_be_a_tool(run: RunTask) -> None:
    text = (HERE / "every_tool.yaml").read_text(encoding="utf-8")
    assert all(f"tool: {name}\n" in text for name in OPERATIONS)
    assert await run(text, {"user": f"user-{uuid.uuid4().hex}"}) == {
        "got": {
            "context": {"a": 3, "list": ["x"], "b": None},
            "history": ["hello"],
            "settings": ["tv", 60, 9],
        },
        "value": "x",
        "listed": True,
        "found": True,
        "cleared": {"cleared_count": 1},
        "history": ["hello"],
        "states": ["active", "paused", "ended"],
        "archived": "archived",
        "deleted": {"deleted": True},
    }
