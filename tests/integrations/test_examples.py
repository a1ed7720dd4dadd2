"""The example agents, each in its framework's environment, while the server is killed between their writes."""

from __future__ import annotations

import os
import subprocess
import threading
import uuid
from pathlib import Path

import pytest

from examples.frameworks.model import model_server
from tests.integrations.runner import EVERY, FRAMEWORKS, environment_of
from tests.support.server import ROOT, SOURCES, Server, start_server

TESTED = FRAMEWORKS if os.environ.get(EVERY) else ("openai_agents",)


class Killer:
    """Kills the server before the model answers the second and the fifth request, and starts it again meanwhile."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._requests = 0
        self._start: threading.Thread | None = None
        self.kills = 0

    def __call__(self) -> None:
        self._requests += 1
        if self._requests in {2, 5}:
            self._server.kill()
            self.kills += 1
            self._start = threading.Thread(target=self._server.start)
            self._start.start()

    def wait(self) -> None:
        """Until the server is back."""
        assert self._start is not None
        self._start.join()


def run(framework: str, server: Server, model: str, *arguments: str) -> list[str]:
    """The lines that the example prints."""
    ended = subprocess.run(
        [environment_of(framework), "-m", f"examples.frameworks.{framework}", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, SOURCES)),
            "SESSIONS_ADDRESS": server.address,
            "MODEL_URL": model,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.parametrize("framework", TESTED)
def test_an_agent_continues_when_the_server_is_killed_and_nothing_is_lost_or_doubled(
    framework: str, tmp_path: Path
) -> None:
    with start_server(tmp_path) as server:
        killer = Killer(server)
        with model_server(killer) as url:
            arguments = [] if framework == "mcp" else [f"chat {uuid.uuid4()}"]
            first = run(framework, server, url, *arguments)
            killer.wait()
            assert killer.kills == 2
            # `sessions-mcp` makes its session itself, and the program tells which.
            [session_id] = [line.split()[-1] for line in first[3:]] or arguments
            second = run(framework, server, url, session_id)
    calculated = ["What is 6 times 7? It is 42.", "What is 8 times 9? It is 72."]
    assert first[:3] == [*calculated, "How much have we said? 3 questions and 2 answers."]
    assert second[:3] == [*calculated, "How much have we said? 6 questions and 5 answers."]
