"""The example programs work as described, against a server process; those in other languages are built first.

A program in another language is built in a copy of its folder under .cache, so that later runs reuse the build, and
nothing is written to the tree.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.meta.tree import ROOT, project_files
from tests.support.server import SOURCES, Server, start_server

if TYPE_CHECKING:
    from sessions_client import AsyncClient, Session

BUILDS = ROOT / ".cache" / "examples"

# How each program in another language is built and run: the tools it needs, with a hint where to get them, and the
# commands that a user would type in its folder.
LANGUAGES = {
    "go": ({"go": "Go 1.26 or later"}, [["go", "generate"], ["go", "run", "."]]),
    "java": (
        {"mvn": "Maven 3.8 or later", "javac": "JDK 17 or later"},
        [["mvn", "-q", "compile", "exec:java"]],
    ),
    "node": ({"npm": "Node.js 20 or later"}, [["npm", "ci", "--silent"], ["npm", "start", "--silent"]]),
    "rust": ({"cargo": "Rust 1.88 or later"}, [["cargo", "run", "--quiet"]]),
}
PRINTED = """\
state SESSION_STATE_ACTIVE
history user: Hello
event 1 EVENT_TYPE_CREATED
event 2 EVENT_TYPE_STATE_CHANGE
event 3 EVENT_TYPE_MESSAGE
event 4 EVENT_TYPE_CONTEXT_CHANGE
event 5 EVENT_TYPE_DELETED
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """One server is enough, since the subject is the programs."""
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield [server]


def environment(server: Server) -> dict[str, str]:
    """Points programs to the server and to this project's environment."""
    return {
        **os.environ,
        "SESSIONS_ADDRESS": server.address,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(map(str, SOURCES)),
    }


def run(server: Server, *command: str, folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment(server), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def copy_of(example: str) -> Path:
    """A copy of the example's folder next to the protos, as in the tree; earlier builds in it are kept."""
    BUILDS.mkdir(parents=True, exist_ok=True)
    protos = BUILDS / "protos"
    if not protos.is_symlink():
        protos.symlink_to(ROOT / "protos")
    for path in project_files(f"examples/{example}"):
        target = BUILDS / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Keeps the modification time, by which build tools detect changes.
        shutil.copy2(ROOT / path, target)
    return BUILDS / "examples" / example


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_built_from_the_protos_alone_uses_a_session(server: Server, language: str) -> None:
    tools, commands = LANGUAGES[language]
    missing = [name for tool, name in tools.items() if shutil.which(tool) is None]
    assert missing == [], f"examples/{language} is built by this test; install {' and '.join(missing)}."
    folder = copy_of(language)
    for command in commands:
        printed = run(server, *command, folder=folder)
    assert re.sub(r"\x1b\[\d*m", "", printed) == PRINTED, "beside colours, which Maven puts there at its end"


def test_the_quickstart_prints_a_conversation(server: Server) -> None:
    printed = run(server, sys.executable, "examples/quickstart.py", folder=ROOT)
    assert printed.splitlines() == [
        "user: Hello",
        "assistant: Good morning",
        "turns: 1",
        "state: ended",
    ]


def test_the_session_manager_prints_its_summary(server: Server) -> None:
    printed = run(server, sys.executable, "examples/session_manager.py", folder=ROOT)
    summary, exported = printed.splitlines()
    assert summary.startswith("Session summary: {'session_id': ")
    assert "'message_count': 1, 'final_state': 'processing'" in summary
    assert exported.startswith("Exported: <SessionData of session ")


def test_the_draft_is_shown_and_then_stored(server: Server) -> None:
    printed = run(server, sys.executable, "examples/drafts.py", folder=ROOT)
    assert printed == "An answer comes token by token, and everyone sees it grow. \nstored as event 2\n"


@contextmanager
def view(server: Server, session: Session, position: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs the live view as a process."""
    command = [sys.executable, "examples/subscribe.py", session.id, str(position)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(server), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


@pytest.mark.parametrize("flavour", ["async"], indirect=True)
async def test_the_live_view_resumes_after_restarts_of_the_server_and_itself(
    server: Server, client: AsyncClient, session: Session, tmp_path: Path
) -> None:
    position = tmp_path / "position.txt"
    with view(server, session, position) as process:
        await client.sessions.start(session.id)
        assert lines(process, 2) == ["1 created", "2 created -> active"]
        server.restart()
        await client.sessions.add_message(session.id, role="user", content="Are you back?")
        assert lines(process, 1) == ["3 user: Are you back?"]
        await client.sessions.add_message(session.id, role="user", content="Good.")
        assert lines(process, 1) == ["4 user: Good."]
    await client.sessions.add_message(session.id, role="user", content="Did you miss this?")
    with view(server, session, position) as process:
        [shown] = lines(process, 1)
        if shown == "4 user: Good.":
            # Printed before the kill, which came before it was recorded.
            [shown] = lines(process, 1)
        assert shown == "5 user: Did you miss this?"
        await client.sessions.delete(session.id)
        assert lines(process, 1) == ["6 deleted"]
        assert process.wait() == 0
