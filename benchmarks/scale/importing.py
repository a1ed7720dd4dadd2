"""Measures how long others' adds wait while a session of many messages and records is imported.

Run by hand: `.venv/bin/python -m benchmarks.scale.importing --messages 1000 50000 --records 50000`. The others are a
single caller that adds to a small session. The time of an add is given as wall-clock time, and as the CPU time that the
process used meanwhile. With `--replace` the session exists, with as many messages and records, and the import replaces
it. `--postgres` does this on PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import NamedTuple

from benchmarks.processes import postgres_url, scratch, sqlite_url
from benchmarks.scale.erasing import BATCH, OTHERS, TEXT, draft, fill
from sessions_server.app import Core, running_core
from sessions_server.domain.commit import Commit
from sessions_server.domain.models import Message, MessageBody, Micros, Sequence, Session, SessionKey
from sessions_server.domain.records import PutRecord, Record, RecordName, Scope
from sessions_server.domain.transfer import (
    MESSAGES_PER_RECORD,
    VERSION,
    Checker,
    ContextRecord,
    ExportRecord,
    Header,
    MessagesRecord,
    RecordsPart,
)
from sessions_server.service.transfer import RECORDS_AT_ONCE
from sessions_server.settings import Settings


class Wait(NamedTuple):
    """The duration of an add, in seconds."""

    elapsed: float
    cpu: float


async def stream(session: Session, messages: int, records: int) -> AsyncIterator[ExportRecord]:
    """The export of a session with this many messages and records."""
    checker = Checker()
    header = Header(VERSION, session._replace(message_count=messages), session.create_time)
    parts: list[ExportRecord] = [header, ContextRecord({})]
    for start in range(0, messages, MESSAGES_PER_RECORD):
        numbers = range(start, min(start + MESSAGES_PER_RECORD, messages))
        parts.append(MessagesRecord(tuple(message(number) for number in numbers)))
    for start in range(0, records, RECORDS_AT_ONCE):
        numbers = range(start, min(start + RECORDS_AT_ONCE, records))
        parts.append(RecordsPart(tuple(map(record, numbers))))
    for part in parts:
        checker.take(part)
        yield part
    yield checker.footer()


def message(number: int) -> Message:
    return Message(f"m{number}", Sequence(number + 1), Micros(0), MessageBody("user", TEXT))


def name(number: int, scope: Scope) -> RecordName:
    return RecordName(scope, ("c",), f"k{number:08}")


def record(number: int) -> Record:
    found = name(number, Scope(""))
    now = Micros(0)
    return Record(found, TEXT.encode(), "", {"k": found.key}, now, None, "e", now, now, None)


async def add_records(core: Core, key: SessionKey, count: int) -> None:
    for start in range(0, count, BATCH):
        names = (name(number, Scope(*key)) for number in range(start, min(start + BATCH, count)))
        some = tuple(PutRecord(name, TEXT.encode(), {"k": name.key}, "e") for name in names)
        await core.writer.submit(Commit(key=key, operations=some))


async def add_on(core: Core, taken: list[Wait], is_over: asyncio.Event) -> None:
    while not is_over.is_set():
        start, cpu = time.perf_counter(), time.process_time()
        await core.writer.submit(Commit(key=OTHERS, operations=(draft(f"m{start}"),)))
        taken.append(Wait(time.perf_counter() - start, time.process_time() - cpu))


async def measure(core: Core, messages: int, records: int, *, replaces: bool) -> str:
    key, taken, is_over = SessionKey("default", f"s{messages}"), list[Wait](), asyncio.Event()
    exported = await core.store.session(OTHERS)
    if replaces:
        await fill(core, key, messages)
        await add_records(core, key, records)
    ready = asyncio.Event()

    async def parts() -> AsyncIterator[ExportRecord]:
        async for part in stream(exported, messages, records):
            yield part
        ready.set()

    coming = asyncio.create_task(
        core.transfers.import_(key, records=parts(), fail_if_exists=False, request_id=f"r{messages}")
    )
    await ready.wait()
    start, cpu = time.perf_counter(), time.process_time()
    others = asyncio.create_task(add_on(core, taken, is_over))
    await coming
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    is_over.set()
    await others
    waits, used = sorted(each.elapsed * 1e3 for each in taken), sorted(each.cpu * 1e3 for each in taken)
    half = len(taken) // 2
    return (
        f"import of {messages:,} messages and {records:,} records: "
        f"{elapsed * 1e3:,.0f} ms, {cpu * 1e3:,.0f} ms of CPU time; "
        f"{len(taken):,} adds of others meanwhile took {waits[half]:,.1f} ms at the median, {waits[-1]:,.1f} at most, "
        f"in CPU time {used[half]:,.1f} and {used[-1]:,.1f}\n"
    )


async def run(url: str, sizes: list[int], records: int, *, replaces: bool) -> None:
    settings = Settings(database_url=url, allow_unsafe_durability=True)
    async with running_core(settings) as core:
        await fill(core, OTHERS, 1)
        for messages in sizes:
            sys.stdout.write(await measure(core, messages, records, replaces=replaces))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, nargs="+", default=[1_000, 50_000])
    parser.add_argument("--records", type=int, default=0)
    parser.add_argument("--replace", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    with postgres_url() if given.postgres else nullcontext("") as postgres, scratch() as folder:
        url = postgres or sqlite_url(folder / "sessions.db")
        asyncio.run(run(url, given.messages, given.records, replaces=given.replace))


if __name__ == "__main__":
    main()
