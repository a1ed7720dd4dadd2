"""Kills a writer repeatedly in mid-commit, and checks that each commit is stored wholly or not at all.

Run as `python -m tests.faults.durability.kill_commits ROUNDS FILE`. Prints how many commits were found whole, and how
many in part.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from typing import Final

from sessions_server.domain.commit import Commit, NewSession
from sessions_server.domain.context import Change, Increment
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import (
    MessageBody,
    MessageDraft,
    Session,
    SessionConfig,
    SessionKey,
    StorageOptions,
)
from sessions_server.domain.operations import Append, ChangeContext, MergeMetadata
from sessions_server.domain.reads import ContextRead, ReadContext, ReadRecord, ReadSession
from sessions_server.domain.records import PutRecord, Record, RecordName, Scope
from sessions_server.log.writer import Writer
from sessions_server.security.encryption import open_cells
from sessions_server.storage.databases import parse_url
from sessions_server.storage.store import Store, open_store

KEY: Final = SessionKey("default", "s")
OF_SESSION: Final = RecordName(Scope("default", session_id="s"), ("c",), "k")
SHARED: Final = RecordName(Scope("default", user_id="u"), ("c",), "k")
MOST_SECONDS: Final = 0.02


def opened(path: str) -> Store:
    return open_store(parse_url(f"sqlite+aiosqlite:///{path}"), cells=open_cells(None), limits=Limits())


def numbered(number: int) -> Commit:
    """The commit with this number: five operations on the session and shared records."""
    etag = str(number)
    return Commit(
        key=KEY,
        operations=(
            Append(MessageDraft(etag, MessageBody("user", etag), chosen=True)),
            ChangeContext((Change("n", ("n",), Increment(1)),)),
            PutRecord(OF_SESSION, b"v", {}, etag),
            PutRecord(SHARED, b"v", {}, etag),
            MergeMetadata({"n": number}),
        ),
    )


async def write(path: str, begin: int, acknowledgements: int) -> None:
    """Writes commits in sequence, and prints each acknowledged one, until the process is killed."""
    store = opened(path)
    await store.start()
    writer = Writer(store, announce=lambda _: None)
    running = asyncio.create_task(writer.run())
    if not begin:
        new = NewSession(
            user_id="u",
            metadata={},
            config=SessionConfig(),
            storage=StorageOptions(),
            return_existing=True,
        )
        await writer.submit(Commit(key=KEY, create=new))
    os.write(acknowledgements, b"start\n")
    number = begin
    while not running.done():
        number += 1
        await writer.submit(numbered(number))
        os.write(acknowledgements, f"{number}\n".encode())


def killed_while_writing(path: str, begin: int) -> int:
    """The number of the last commit acknowledged before the kill."""
    read, acknowledgements = os.pipe()
    child = os.fork()
    if not child:
        asyncio.run(write(path, begin, acknowledgements))
        os._exit(1)
    os.close(acknowledgements)
    with os.fdopen(read, "rb") as lines:
        if lines.readline() != b"start\n":
            raise RuntimeError("the writer did not start")
        seen = [lines.readline() for _ in range(random.randrange(3))]
        asyncio.run(asyncio.sleep(random.uniform(0, MOST_SECONDS)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged = [int(line) for line in (*seen, *lines.read().split())]
    return acknowledged[-1] if acknowledged else begin


async def stored(path: str) -> tuple[int, ...]:
    """The number of the last commit according to each of its five operations."""
    store = opened(path)
    await store.start()
    session, context, *records = await store.read(
        [ReadSession(KEY), ReadContext(KEY), ReadRecord(OF_SESSION), ReadRecord(SHARED)]
    )
    await store.close()
    if not isinstance(session, Session) or not isinstance(context, ContextRead):
        return (0,)
    kept = [record.etag if isinstance(record, Record) else "0" for record in records]
    counted = (session.metadata.get("n", 0), context.context.data.get("n", 0), *kept)
    return (session.message_count, *(int(str(each)) for each in counted))


def main(rounds: int, path: str) -> None:
    reached = partial = 0
    for _ in range(rounds):
        acknowledged = killed_while_writing(path, reached)
        numbers = asyncio.run(stored(path))
        partial += len(set(numbers)) != 1
        if numbers[0] < acknowledged:
            raise RuntimeError(f"commit {acknowledged} was acknowledged, and {numbers[0]} is the last")
        reached = numbers[0]
    print(f"{rounds} kills, {reached} commits whole, {partial} in part")  # noqa: T201  # for the test


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
