"""`sessions-task` as people and programs run it."""

from __future__ import annotations

import ctypes
import json
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner, Result

from sessions_client import Client, Session
from sessions_tasks.__main__ import cli
from tests.support.command_line import environment, on_terminal, plain, run as run_server
from tests.support.model_server import ModelServer, cut_after, says
from tests.support.server import Server, start_server
from tests.tasks.conftest import TOOLS

PROGRAM = [sys.executable, "-m", "sessions_tasks"]
ADD = f"""{TOOLS}
main:
- tool: add_message
  arguments: {{session_id: "{{{{ inputs.session_id }}}}", role: user, content: "{{{{ inputs.content }}}}"}}
- log: "stored {{{{ steps[0].output.content }}}}"
- return: "{{{{ inputs.content }}}}"
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / "task.yaml"
    path.write_text(ADD)
    return path


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def invoke(*arguments: object, env: Mapping[str, str] | None = None) -> Result:
    kept = dict.fromkeys(("SESSIONS_ADDRESS", "SESSIONS_TOKEN", "SESSIONS_TASK_MODEL"))
    return CliRunner().invoke(cli, list(map(str, arguments)), env={**kept, **(env or {})})


def add(task: Path, server: Server, session: Session, content: str, *more: object) -> Result:
    inputs = ("--input", f"session_id={session.id}", "--input", content)
    return invoke("run", task, "--address", server.address, *inputs, *more)


def test_on_a_pipe_progress_is_plain_lines_and_the_output_is_alone(
    task: Path, server: Server, session: Session
) -> None:
    done = add(task, server, session, "content=hello")
    assert (done.exit_code, done.stdout) == (0, "hello\n")
    assert done.stderr.splitlines() == [
        "finished main.0 tool add_message",
        "log main.1 log stored hello",
        "finished main.1 log",
    ]


def test_json_is_one_document_and_nothing_else(task: Path, server: Server, session: Session) -> None:
    done = add(task, server, session, 'content:="hello"', "--output", "json")
    assert (done.exit_code, json.loads(done.stdout), done.stderr) == (0, {"output": "hello"}, "")


def test_a_failure_is_a_sentence_and_a_document_for_json(tmp_path: Path, task: Path, server: Server) -> None:
    inputs = ["--input", "session_id=none", "--input", "content=x", "--address", server.address]
    done = invoke("run", task, *inputs)
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.fullmatch(rf"sessions-task: {task}:23:3: main\.0 \(tool\): NotFound: .*", done.stderr.strip())
    done = invoke("run", task, *inputs, "--output", "json")
    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["type"], error["line"], error["key"]) == (1, "StepFailed", 23, "main.0")

    wrong = write(tmp_path / "wrong.yaml", "main:\n- lg: x\n- {}\n")
    done = invoke("run", wrong)
    assert done.exit_code == 1
    assert [line.removeprefix(f"{wrong}:")[:4] for line in done.stderr.splitlines()] == ["2:3:", "3:3:"]
    error = json.loads(invoke("run", wrong, "--output", "json").stdout)["error"]
    assert [(each["line"], each["column"]) for each in error["problems"]] == [(2, 3), (3, 3)]


def test_an_empty_model_is_not_taken_for_one_that_is_not_given(task: Path) -> None:
    done = invoke("run", task, "--model", "", env={"SESSIONS_TASK_MODEL": "m"})
    assert done.exit_code == 2
    assert "--model is empty" in done.stderr


@pytest.mark.parametrize("pair", ["content", "=x", ":=1", "n:=[1"])
def test_an_invalid_input_is_reported(task: Path, pair: str) -> None:
    done = invoke("run", task, "--input", pair)
    assert done.exit_code == 2
    assert "--input" in done.stderr


def test_a_file_is_checked_without_a_server(tmp_path: Path, task: Path) -> None:
    done = invoke("check", task)
    assert (done.exit_code, done.stdout) == (0, f"{task} is valid. Its workflows: main\n")
    assert invoke("check", write(tmp_path / "wrong.yaml", "main: x\n")).exit_code == 1
    done = invoke("check", tmp_path / "none.yaml")
    assert done.exit_code == 1
    assert done.stderr == (
        f"sessions-task: The file `{tmp_path / 'none.yaml'}` cannot be read: No such file or directory. "
        "Check its path.\n"
    )


@pytest.mark.parametrize("format", ["openai", "anthropic", "mcp"])
def test_the_tools_are_printed(format: str) -> None:
    assert len(json.loads(invoke("tools", "--format", format).stdout)) == 19


def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path, task: Path) -> None:
    made = run_server("token", "new", "--tenant", "acme", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    token = made.stderr.split()[-1]
    tokens = write(tmp_path / "tokens.toml", made.stdout)
    with start_server(tmp_path, env={"SESSIONS_TOKENS": str(tokens)}) as server:
        with Client(server.address, token=token) as client:
            session = client.sessions.create(user_id="u1")
        refused = add(task, server, session, "content=x")
        assert (refused.exit_code, "Unauthenticated" in refused.stderr) == (1, True)
        file = write(tmp_path / "token", f"{token}\n")
        assert add(task, server, session, "content=x", "--token-file", file).exit_code == 0
        inputs = ("--input", f"session_id={session.id}", "--input", "content=x")
        assert (
            invoke("run", task, "--address", server.address, *inputs, env={"SESSIONS_TOKEN": token}).exit_code
            == 0
        )


def test_on_a_terminal_steps_are_ticked_off_and_the_answer_is_streamed(
    tmp_path: Path, server: Server, model: ModelServer
) -> None:
    text = 'main:\n- log: "red \\e[31m"\n- prompt: x\n- evaluate: 1\n'
    task = write(tmp_path / "task.yaml", text)
    model.script = [cut_after("No "), says("It ", "wor", "ks.")]
    command = [*PROGRAM, "run", str(task), "--address", server.address, "--run-id", uuid.uuid4().hex]
    code, shown = on_terminal(command, env={**model.env, "TERM": "xterm"})
    assert code == 0, shown
    redrawn = re.compile(r"\x1b\[[0-9;?]*[A-HJK]|[\r\n]+")  # such text starts a new line
    lines = [text for line in redrawn.split(shown) if (text := plain(line).strip())]
    finished = [line for line in lines if not re.match(r"[⠀-⣿]", line)]
    assert finished == [
        "red \N{REPLACEMENT CHARACTER}[31m",
        "✓ main.0 log",
        "No",
        "the answer was cut off; asking again",
        "It works.",
        "✓ main.1 prompt",
        "✓ main.2 evaluate",
    ]


def test_an_interrupt_that_another_thread_receives_ends_a_run(
    tmp_path: Path, server: Server, session: Session
) -> None:
    wait = '- wait: {session_id: "{{ inputs.session_id }}", event_types: state_change, after_sequence: 0}\n'
    task = write(tmp_path / "task.yaml", ADD.replace("- log:", f"{wait}- log:"))
    inputs = ["--input", f"session_id={session.id}", "--input", "content=hello"]
    command = [*PROGRAM, "run", str(task), "--address", server.address, *inputs]
    with subprocess.Popen(command, env=environment(), text=True, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "finished main.0 tool add_message\n"
        running = psutil.Process(process.pid)
        while len(running.net_connections()) < 2 or running.status() != psutil.STATUS_SLEEPING:
            pass  # until it waits for an event, over a separate connection
        other = next(thread.id for thread in running.threads() if thread.id != process.pid)
        assert ctypes.CDLL(None).tgkill(process.pid, other, signal.SIGINT) == 0
        try:
            assert process.wait(timeout=30) == 130
        finally:
            process.kill()


def test_a_killed_run_is_continued_from_the_command_line(
    tmp_path: Path, server: Server, session: Session, client: Client
) -> None:
    wait = '- wait: {session_id: "{{ inputs.session_id }}", event_types: state_change, after_sequence: 0}\n'
    task = write(tmp_path / "task.yaml", ADD.replace("- log:", f"{wait}- log:"))
    inputs = ["--input", f"session_id={session.id}", "--input", "content=hello"]
    command = [*PROGRAM, "run", str(task), "--address", server.address, *inputs, "--run-id", uuid.uuid4().hex]
    options: dict[str, Any] = {
        "env": environment(),
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    for end in (signal.SIGKILL, signal.SIGINT):
        with subprocess.Popen(command, **options) as process:
            assert process.stderr is not None
            assert process.stderr.readline() in (
                "finished main.0 tool add_message\n",
                "skipped main.0 tool add_message\n",
            )
            process.send_signal(end)
            _, errors = process.communicate()
        if end == signal.SIGINT:
            assert process.returncode == 130
            assert (
                errors
                == f"sessions-task: The run was interrupted. Run it again with `--run-id {command[-1]}` to continue.\n"
            )
    client.sessions.start(session.id)
    done = subprocess.run(command, **options, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "hello\n"
    assert done.stderr.splitlines()[:2] == ["skipped main.0 tool add_message", "finished main.1 wait"]
    assert len(client.sessions.get_history(session.id)) == 1
