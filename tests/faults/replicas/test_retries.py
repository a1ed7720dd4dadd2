"""Writes repeated concurrently on all replicas, while connections to PostgreSQL break in the middle of a COMMIT."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessions_client import AsyncClient, Message
from tests.faults.replicas.storm import until_done
from tests.support.figures import show
from tests.support.ports import HOST
from tests.support.postgres import Postgres
from tests.support.proxy import proxy_to
from tests.support.replicas import running_replicas

if TYPE_CHECKING:
    import pytest

REPLICAS = 3
REQUESTS = 500
AT_ONCE = 50
"""How many different requests are in flight at once."""
DUPLICATES = 32
SESSIONS = 10


class Scissors:
    """Cuts one of eight commits before it reaches PostgreSQL, and one of eight before the response."""

    def __init__(self) -> None:
        self.is_sharp = False
        self.commits = self.before = self.after = 0
        self._rng = random.Random(1)
        self._cut_after = False

    def cut_before(self, data: bytes) -> bool:
        if not self.is_sharp or b"COMMIT" not in data:
            return False
        self.commits += 1
        chosen = self._rng.randrange(8)
        self.before += chosen == 0
        self.after += chosen == 1
        self._cut_after = chosen == 1
        return chosen == 0

    def cut_after(self, _data: bytes) -> bool:
        cut, self._cut_after = self._cut_after, False
        return cut


async def repeat(clients: list[AsyncClient], number: int, turns: asyncio.Semaphore) -> list[Message]:
    """The responses to one request, sent many times at once to all replicas."""
    content = f"request {number}"

    def send(copy: int) -> Coroutine[Any, Any, Message]:
        add = clients[copy % len(clients)].sessions.add_message
        return until_done(partial(add, session_of(number), role="user", content=content, request_id=content))

    async with turns:
        return await asyncio.gather(*map(send, range(DUPLICATES)))


def session_of(number: int) -> str:
    return f"session-{number % SESSIONS}"


async def stored(client: AsyncClient) -> list[Message]:
    histories = [
        await client.sessions.get_history(session_of(number), limit=1_000) for number in range(SESSIONS)
    ]
    return [message for history in histories for message in history]


async def test_a_request_has_one_effect_and_one_response_however_its_commits_end(
    postgres_server: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scissors = Scissors()
    database = await postgres_server.fresh_database()
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(
            proxy_to(HOST, postgres_server.port, cut_before=scissors.cut_before, cut_after=scissors.cut_after)
        )
        replicas = running_replicas(
            tmp_path,
            count=REPLICAS,
            database_url=postgres_server.url(database, port=proxy.port),
            env={"SESSIONS_ALLOW_UNSAFE_DURABILITY": "true"},
        )
        servers = await asyncio.to_thread(replicas.__enter__)
        stack.push_async_callback(asyncio.to_thread, replicas.__exit__, None, None, None)
        clients = [await stack.enter_async_context(AsyncClient(server.address)) for server in servers]
        for number in range(SESSIONS):
            await clients[0].sessions.create("u", session_id=session_of(number))
        scissors.is_sharp = True
        turns = asyncio.Semaphore(AT_ONCE)
        answers = await asyncio.gather(*(repeat(clients, number, turns) for number in range(REQUESTS)))
        scissors.is_sharp = False
        effects = await stored(clients[0])
    contents = Counter(message.content for message in effects)
    different = sum(any(answer != first for answer in others) for first, *others in answers)
    show(
        capsys,
        f"{REQUESTS} requests, each {DUPLICATES} times over {REPLICAS} replicas; of {scissors.commits} commits "
        f"{scissors.before} were cut before PostgreSQL received them and {scissors.after} before it answered: "
        f"{len(effects)} effects, {len(contents)} different, requests with more than one answer {different}",
    )
    assert scissors.before > 0
    assert scissors.after > 0
    assert len(effects) == len(contents) == REQUESTS
    assert different == 0
    assert {first.id: first for first, *_ in answers} == {message.id: message for message in effects}
