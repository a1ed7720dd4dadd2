"""Measures which part of a write costs the server how much, without gRPC: CPU time for each message.

Run by hand: `.venv/bin/python -m benchmarks.scale.writing`. Every message has a request id. Under load a transaction
takes the messages of all callers that wait, so the cost of one falls with their number.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.text import CONTENT, ROLE
from sessions_server.app import running_core
from sessions_server.domain.commit import Commit, NewSession, RequestStamp
from sessions_server.domain.models import MessageBody, MessageDraft, SessionConfig, SessionKey, StorageOptions
from sessions_server.domain.operations import Append
from sessions_server.domain.ports import LockWait
from sessions_server.service.ids import new_message_id
from sessions_server.settings import Settings

if TYPE_CHECKING:
    from sessions_server.domain.ports import Transaction

SHAPES: Final = ((1, 1), (64, 64), (512, 64))
"""How many messages a transaction has, and on how many sessions."""

ROUNDS: Final = 200


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of CPU time of each transaction."""

    load: list[float] = field(default_factory=list)
    decide: list[float] = field(default_factory=list)
    save: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)
    """The COMMIT, and the way to the writer's thread and back."""

    def transact(self, transaction: Transaction, commits: list[Commit]) -> None:
        started = time.thread_time()
        workspace = transaction.load(commits, lock_wait=LockWait.BRIEF)
        loaded = time.thread_time()
        for commit in commits:
            workspace.apply(commit)
        decided = time.thread_time()
        transaction.save(workspace)
        self.load.append(loaded - started)
        self.decide.append(decided - loaded)
        self.save.append(time.thread_time() - decided)


def commits(keys: list[SessionKey], count: int) -> Iterator[Commit]:
    for number in range(count):
        draft = MessageDraft(new_message_id(), MessageBody(ROLE, CONTENT))
        stamp = RequestStamp(new_message_id(), "AddMessage", uuid.uuid4().bytes * 2)
        yield Commit(keys[number % len(keys)], stamp, operations=(Append(draft),), shows_session=False)


async def measure(count: int, sessions: int) -> Spent:
    spent = Spent()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(database_url=f"sqlite+aiosqlite:///{Path(folder) / 'writing.db'}")
        async with running_core(settings) as core:
            keys = [SessionKey("default", new_message_id()) for _ in range(sessions)]
            for key in keys:
                new = NewSession(user_id="u", metadata={}, config=SessionConfig(), storage=StorageOptions())
                await core.writer.submit(Commit(key, create=new))
            for _ in range(ROUNDS):
                batch = list(commits(keys, count))
                started = time.process_time()
                await core.store.transact(lambda transaction: spent.transact(transaction, batch))  # noqa: B023
                total = time.process_time() - started
                spent.rest.append(total - spent.load[-1] - spent.decide[-1] - spent.save[-1])
    return spent


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for count, sessions in SHAPES:
        spent = asyncio.run(measure(count, sessions))
        parts = {name: statistics.median(getattr(spent, name)) / count * 1e6 for name in Spent.__slots__}
        shown = ", ".join(f"{name} {micros:.0f}" for name, micros in parts.items())
        sys.stdout.write(
            f"{count:>3} messages on {sessions:>2} sessions: {sum(parts.values()):.0f} µs a message ({shown})\n"
        )


if __name__ == "__main__":
    main()
