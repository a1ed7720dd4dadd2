"""A run with an id continues where it was killed, and nothing takes effect twice.

One run is killed after every call in turn. Runs that are killed once are killed at every third call; with
TASK_KILLS=all at every call, both after its response and while it is in flight, several times.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sessions_client import AsyncClient, Client, Session
from sessions_tasks import Progress, ProgressKind, RunConflict, StepFailed, run_task
from tests.support.command_line import environment
from tests.support.model_server import Json, ModelServer, Reply, calls, says
from tests.support.server import Server
from tests.tasks.conftest import TOOLS, RunTask

TASK = TOOLS + Path(__file__).with_name("durable.yaml").read_text(encoding="utf-8")
ALL = os.environ.get("TASK_KILLS") == "all"
WAYS = [False, True] * 5 if ALL else [False]
"""Whether each run is killed while the call is in flight."""
STEP = 1 if ALL else 3


class Runs:
    """Starts runs that are killed."""

    def __init__(self, server: Server, process: subprocess.Popen[str]) -> None:
        self._server, self._process = server, process

    def run(self, run_id: str, inputs: Json, *, dies_at: int = 0, under_way: bool = False) -> Json:
        """The number of calls and the exit code; -9 for a killed run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"address": self._server.address, "task": TASK, "run_id": run_id, "inputs": inputs}
        self._process.stdin.write(json.dumps({**order, "dies_at": dies_at, "under_way": under_way}) + "\n")
        self._process.stdin.flush()
        result: Json = json.loads(self._process.stdout.readline())
        return result


@pytest.fixture
def runs(server: Server, model: ModelServer) -> Iterator[Runs]:
    program = [sys.executable, "-m", "tests.tasks.killed_run"]
    with subprocess.Popen(
        program, env=environment(model.env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Runs(server, process)


def counting(session_id: str) -> Any:
    """A model that counts each question once, however often it is asked."""
    change = {"session_id": session_id, "changes": [{"path": "counted", "increment": 1}]}

    def reply(request: Json) -> Reply:
        asked = request["messages"][-1]["role"] == "user"
        return calls(("update_context", json.dumps(change))) if asked else says("Counted.")

    return reply


async def state_of(client: AsyncClient, session_id: str, user_id: str) -> Json:
    """Everything that the task changes, and how many changes the session has had."""
    session = await client.sessions.get(session_id)
    context = dict(await client.sessions.get_context(session_id))
    created = [each.id async for each in client.sessions.list(user_id=user_id)]
    assert context.pop("created") in created
    messages = [(each.role, each.content) for each in await client.sessions.get_history(session_id)]
    return {
        "changes": session.last_sequence,
        "metadata": session.metadata,
        "context": context,
        "messages": messages,
        "created": len(created),
    }


async def test_a_run_killed_at_any_call_continues_and_does_nothing_twice(
    runs: Runs, model: ModelServer, observer: AsyncClient
) -> None:
    async def new() -> tuple[str, Json]:
        user_id = f"user-{uuid.uuid4().hex}"
        session = await observer.sessions.create(user_id="task")
        model.answer = counting(session.id)
        return uuid.uuid4().hex, {"session_id": session.id, "user_id": user_id}

    run_id, inputs = await new()
    whole = runs.run(run_id, inputs)
    assert whole["status"] == 0
    expected = await state_of(observer, **inputs)
    assert expected == {
        "changes": 14,
        "metadata": {"by": "task"},
        "context": {"n": 1, "seen": 1, "left": 1, "right": 1, "counted": 1, "list": ["Counted."]},
        "messages": [
            ("user", "message 0"),
            ("user", "message 2"),
            ("user", "Count."),
            ("assistant", ""),
            ("tool", expected["messages"][4][1]),
            ("assistant", "Counted."),
        ],
        "created": 1,
    }
    kills = 0
    for under_way in WAYS:
        for number in range(1, whole["calls"] + 1, STEP):
            run_id, inputs = await new()
            killed = runs.run(run_id, inputs, dies_at=number, under_way=under_way)
            assert killed["status"] == -signal.SIGKILL, f"call {number} of {whole['calls']}: {killed}"
            assert runs.run(run_id, inputs)["status"] == 0
            state = await state_of(observer, **inputs)
            state["messages"][4] = expected["messages"][4]  # the tool's result has the session's own times
            assert state == expected, f"killed at call {number}, under way: {under_way}"
            kills += 1
    sys.stdout.write(f"{kills} kills at {whole['calls']} calls, 0 doubled effects\n")


async def test_a_run_killed_after_each_call_completes(
    runs: Runs, model: ModelServer, observer: AsyncClient
) -> None:
    session = await observer.sessions.create(user_id="task")
    model.answer = counting(session.id)
    run_id, inputs = uuid.uuid4().hex, {"session_id": session.id, "user_id": f"user-{uuid.uuid4().hex}"}
    # Opening the run takes three calls: two to find that the server has no keyring, one to read the journal.
    starts = 1
    while runs.run(run_id, inputs, dies_at=5)["status"] != 0:
        starts += 1
        assert starts < 100
    assert starts > 10
    state = await state_of(observer, **inputs)
    assert (state["changes"], state["created"], state["context"]["counted"]) == (14, 1, 1)


ADD = """
main:
- tool: add_message
  arguments: {session_id: "{{ inputs.session_id }}", role: user, content: "{{ inputs.content }}"}
- if: inputs.fails
  then: {error: not now}
- evaluate: "{{ _.content * 3 }}"
"""


async def test_a_finished_run_returns_its_output_again_and_does_nothing(
    run: RunTask, session: Session, observer: AsyncClient
) -> None:
    run_id, inputs = uuid.uuid4().hex, {"session_id": session.id, "content": "é" * 80_000, "fails": False}
    seen: list[Progress] = []
    first = await run(ADD, inputs, run_id=run_id)
    assert first == "é" * 240_000
    assert await run(ADD, inputs, run_id=run_id, on_progress=seen.append) == first
    assert seen == []
    assert len(await observer.sessions.get_history(session.id)) == 1
    journal = await observer.sessions.get(f"task-run:{run_id}")
    assert (journal.state, journal.user_id) == ("ended", "sessions-task")
    assert journal.metadata == {"task": "task", "run_id": run_id}


async def test_a_failed_step_is_retried_and_earlier_ones_are_not(
    run: RunTask, session: Session, observer: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "env: [READY]\n" + ADD.replace("inputs.fails", "env.READY == 'no'")
    run_id, inputs = uuid.uuid4().hex, {"session_id": session.id, "content": "x"}
    monkeypatch.setenv("READY", "no")
    with pytest.raises(StepFailed, match="not now"):
        await run(text, inputs, run_id=run_id)
    monkeypatch.setenv("READY", "yes")
    seen: list[Progress] = []
    assert await run(text, inputs, run_id=run_id, on_progress=seen.append) == "xxx"
    assert [each.key for each in seen if each.kind is ProgressKind.SKIPPED] == ["main.0"]
    assert len(await observer.sessions.get_history(session.id)) == 1


async def test_a_run_id_belongs_to_one_task_and_its_inputs(run: RunTask, session: Session) -> None:
    run_id, inputs = uuid.uuid4().hex, {"session_id": session.id, "content": "x", "fails": True}
    with pytest.raises(StepFailed):
        await run(ADD, inputs, run_id=run_id)
    with pytest.raises(RunConflict, match="was begun with other inputs"):
        await run(ADD, {**inputs, "content": "y"}, run_id=run_id)
    with pytest.raises(RunConflict, match="was begun with another version of the file"):
        await run(f"{ADD}- log: more\n", inputs, run_id=run_id)
    with pytest.raises(RunConflict, match="A run id has 1 to 100 of the characters"):
        await run(ADD, inputs, run_id="a b")


async def test_an_output_that_cannot_be_stored_fails_its_step(run: RunTask) -> None:
    text = "main:\n- evaluate: \"{{ 'x' * 3500000 }}\"\n"
    assert len(await run(text)) == 3_500_000
    with pytest.raises(StepFailed, match="larger than 3 MB, which a run with an id cannot keep"):
        await run(text, run_id=uuid.uuid4().hex)


async def test_each_step_of_two_processes_with_one_run_id_takes_effect_once(
    server: Server, session: Session, observer: AsyncClient
) -> None:
    run_id, inputs = uuid.uuid4().hex, {"session_id": session.id, "content": "x", "fails": False}
    with Client(server.address) as client:
        nested: list[str] = []

        def again(progress: Progress) -> None:
            # The other run overtakes this one during its first step.
            if not nested and progress.kind is ProgressKind.STARTED:
                nested.append(run_task(client, TOOLS + ADD, inputs, run_id=run_id))

        # The other run has done everything already, so this one either succeeds too or reports that it is not alone.
        with suppress(RunConflict):
            assert run_task(client, TOOLS + ADD, inputs, run_id=run_id, on_progress=again) == "xxx"
    assert nested == ["xxx"]
    assert len(await observer.sessions.get_history(session.id)) == 1
