"""Measures how long calls that erase a whole history take, and how long others' adds wait meanwhile.

Run by hand: `.venv/bin/python -m benchmarks.scale.erasing --messages 1000 200000`, with `--postgres` on PostgreSQL. The
others are a single caller that adds to a small session, from before the call until the server has erased everything.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import nullcontext
from typing import Final

from benchmarks.processes import postgres_url, scratch, sqlite_url
from sessions_server.app import Core, running_core
from sessions_server.domain.commit import Commit, NewSession
from sessions_server.domain.models import (
    MessageBody,
    MessageDraft,
    Overflow,
    SessionConfig,
    SessionKey,
    StorageOptions,
)
from sessions_server.domain.operations import (
    Append,
    ClearHistory,
    DeleteSession,
    Operation,
    Part,
    Truncate,
    Update,
)
from sessions_server.settings import Settings

BATCH: Final = 1_000
TEXT: Final = "x" * 200
OTHERS: Final = SessionKey("default", "others")
LOWERED: Final = Update(
    ("config",),
    {},
    SessionConfig(max_messages=10, overflow=Overflow.TRUNCATE_OLDEST),
    StorageOptions(),
)


def draft(name: str) -> Append:
    return Append(MessageDraft(name, MessageBody("user", TEXT)))


CALLS: Final[dict[str, tuple[Operation, ...]]] = {
    "ClearHistory": (ClearHistory(),),
    "a truncation to the newest 10": (Truncate(Part.OLDEST, 0),),
    "an add after max_messages was lowered": (LOWERED, draft("one more")),
    "DeleteSession": (DeleteSession(),),
}


async def fill(core: Core, key: SessionKey, messages: int) -> None:
    created = NewSession(user_id="u", metadata={}, config=SessionConfig(), storage=StorageOptions())
    await core.writer.submit(Commit(key=key, create=created))
    for start in range(0, messages, BATCH):
        names = range(start, min(start + BATCH, messages))
        await core.writer.submit(Commit(key=key, operations=tuple(draft(f"m{name}") for name in names)))


async def add_on(core: Core, taken: list[float], is_over: asyncio.Event) -> None:
    while not is_over.is_set():
        start = time.perf_counter()
        await core.writer.submit(Commit(key=OTHERS, operations=(draft(f"m{start}"),)))
        taken.append(time.perf_counter() - start)


async def measure(core: Core, number: int, call: str, messages: int) -> str:
    key, taken, is_over = SessionKey("default", f"s{number}-{messages}"), list[float](), asyncio.Event()
    await fill(core, key, messages)
    operations = CALLS[call]
    if isinstance(operations[0], Truncate):
        operations = (Truncate(Part.OLDEST, messages - 10),)
    others = asyncio.create_task(add_on(core, taken, is_over))
    start = time.perf_counter()
    await core.writer.submit(Commit(key=key, operations=operations))
    answered = time.perf_counter() - start
    while await core.store.erase(256):
        pass
    erased = time.perf_counter() - start
    is_over.set()
    await others
    return (
        f"{call:<38} {messages:>9,} messages: {answered * 1e3:>7.1f} ms, others wait {max(taken) * 1e3:>7.1f} ms "
        f"at most, erased after {erased:.1f} s\n"
    )


async def run(url: str, sizes: list[int]) -> None:
    async with running_core(Settings(database_url=url)) as core:
        await fill(core, OTHERS, 1)
        for number, call in enumerate(CALLS):
            for messages in sizes:
                sys.stdout.write(await measure(core, number, call, messages))
                sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, nargs="+", default=[1_000, 200_000])
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    with scratch() as folder, postgres_url() if given.postgres else nullcontext("") as url:
        asyncio.run(run(url or sqlite_url(folder / "sessions.db"), given.messages))


if __name__ == "__main__":
    main()
