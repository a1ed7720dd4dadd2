"""The example agents, each in its framework's environment, while the server is killed between their writes."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Self

import pytest

from examples.frameworks.model import model_server
from sessions_client import Client, DraftUpdate
from sessions_client.integrations import session_id_of
from tests.integrations.runner import EVERY, FRAMEWORKS, environment_of
from tests.support.server import ROOT, SOURCES, Server, start_server

STREAMING = ("langgraph", "openai_agents")
TESTED = FRAMEWORKS if os.environ.get(EVERY) else ("openai_agents",)


class Killer:
    """Kills the server before the model answers the second and the fifth request, and restarts it concurrently."""

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
        """Waits until the server is back."""
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
def test_an_agent_continues_when_the_server_is_killed_and_nothing_is_lost_or_repeated(
    framework: str, tmp_path: Path
) -> None:
    with start_server(tmp_path) as server:
        killer = Killer(server)
        with model_server(killer) as url:
            arguments = [] if framework == "mcp" else [f"chat {uuid.uuid4()}"]
            first = run(framework, server, url, *arguments)
            killer.wait()
            assert killer.kills == 2
            # `sessions-mcp` creates its session itself, and the program prints its id.
            [session_id] = [line.split()[-1] for line in first[3:]] or arguments
            second = run(framework, server, url, session_id)
    calculated = ["What is 6 times 7? It is 42.", "What is 8 times 9? It is 72."]
    assert first[:3] == [*calculated, "How much have we said? 3 questions and 2 answers."]
    assert second[:3] == [*calculated, "How much have we said? 6 questions and 5 answers."]


class Watcher:
    """Sees what subscribers of a session see; the model waits for it after each token."""

    def __init__(self, client: Client, session_id: str) -> None:
        self.seen: list[tuple[str, str, str]] = []
        """The kind, id and text of each draft or message."""
        self._new: queue.Queue[str] = queue.Queue()
        self._events = client.sessions.subscribe(session_id, include_drafts=True)
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._events.close()
        self._thread.join()

    def saw(self, text: str) -> None:
        """Waits until the text has been seen."""
        while self._new.get(timeout=30) != text:
            pass

    def _watch(self) -> None:
        for event in self._events:
            if isinstance(event, DraftUpdate):
                self.seen.append((event.state, event.message_id, event.text))
            elif event.type == "message":
                self.seen.append(("message", event.data.id, event.data.content))
            else:
                continue
            self._new.put(self.seen[-1][2])


@pytest.mark.parametrize("framework", STREAMING)
def test_a_response_grows_and_is_then_replaced_by_its_message(framework: str, tmp_path: Path) -> None:
    name = f"chat {uuid.uuid4()}"
    with start_server(tmp_path) as server, Client(server.address) as client:
        session = client.sessions.create(user_id="u1", session_id=session_id_of(name))
        with Watcher(client, session.id) as watcher, model_server(after_token=watcher.saw) as url:
            run(framework, server, url, name)
            watcher.saw("3 questions and 2 answers.")
            seen = watcher.seen
        answers = [each for each in client.sessions.get_history(session.id) if each.role == "assistant"]
    for expected in ("It is 42.", "It is 72.", "3 questions and 2 answers."):
        [answer] = [each for each in answers if each.content == expected]
        words = expected.split()
        grown = [" ".join(words[:count]) for count in range(1, len(words) + 1)]
        mine = [(state, text.rstrip()) for state, message_id, text in seen if message_id == answer.id]
        assert mine == [*(("writing", text) for text in grown), ("message", expected)]
    assert {message_id for state, message_id, _ in seen if state != "message"} <= {
        each.id for each in answers
    }
