"""The writer on a real SQLite file: order, durability, and the effect of a failed command or an absent caller."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.commit import Committed
from sessions_server.domain.errors import (
    DataCorrupted,
    InvalidState,
    MessageExists,
    SessionNotFound,
    ShuttingDown,
)
from sessions_server.domain.imports import Import
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import (
    Message,
    MessageBody,
    MessageDraft,
    Sequence,
    SessionConfig,
    SessionKey,
    StorageOptions,
)
from sessions_server.domain.operations import ImportMessages
from sessions_server.log.writer import Writer
from sessions_server.security.encryption import open_cells
from sessions_server.security.keyring import create_keyring
from sessions_server.storage.sqlite.backend import SqliteBackend
from sessions_server.storage.store import Store, open_store
from tests.support import commits as c

if TYPE_CHECKING:
    from sessions_server.domain.models import Session
    from sessions_server.domain.ports import Cells
    from sessions_server.domain.workspace import Published


@dataclass
class Running:
    writer: Writer
    store: Store
    cells: Cells
    published: list[Published] = field(default_factory=list)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    keyring = folder / "keyring"
    if not keyring.exists():
        create_keyring(keyring, now=datetime.now(UTC))
    cells = open_cells(keyring)
    store = open_store(SqliteBackend(folder / "sessions.db"), cells=cells, limits=Limits())
    await store.start()
    published: list[Published] = []
    writer = Writer(store, announce=published.extend)
    task = asyncio.create_task(writer.run())
    try:
        yield Running(writer, store, cells, published)
    finally:
        writer.close()
        await task
        await store.close()


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as made:
        yield made


def key(name: str) -> SessionKey:
    return SessionKey("default", name)


def create(name: str) -> c.Commit:
    return c.create(key=key(name), user_id="u", metadata={}, config=SessionConfig(), storage=StorageOptions())


def add(name: str, text: str) -> c.Commit:
    return c.add_messages(key=key(name), drafts=(MessageDraft(text, MessageBody("user", text), chosen=True),))


@pytest.mark.parametrize("share", [1.0, 0.5])
async def test_sixty_four_writers_leave_no_gap_and_commit_in_sequence_order(
    log: Running, share: float
) -> None:
    log.writer.awaited_share = share
    names = [f"s{number}" for number in range(8)]
    await asyncio.gather(*(log.writer.submit(create(name)) for name in names))
    log.published.clear()

    async def write(number: int) -> None:
        for turn in range(25):
            await log.writer.submit(add(random.choice(names), f"w{number}-{turn}"))

    await asyncio.gather(*(write(number) for number in range(64)))
    total = 0
    for name in names:
        stored = [event.sequence for event in (await log.store.log(key(name), Sequence(0), 5000)).events]
        assert stored == list(range(1, len(stored) + 1))
        committed = [
            event.sequence for change in log.published if change.key == key(name) for event in change.events
        ]
        assert committed == stored[1:], "order of commit is order of sequence"
        total += len(committed)
    assert total == 64 * 25
    assert len(log.published) < total, "commands were committed together"


async def test_a_refused_command_does_not_affect_others(log: Running) -> None:
    await log.writer.submit(create("s"))
    outcomes = await asyncio.gather(
        log.writer.submit(add("s", "a")),
        log.writer.submit(c.move(key=key("s"), verb=c.Verb.RESUME)),
        log.writer.submit(add("missing", "b")),
        log.writer.submit(add("s", "c")),
        return_exceptions=True,
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Committed, InvalidState, SessionNotFound, Committed]


async def test_a_command_that_breaks_its_transaction_fails_alone(log: Running, tmp_path: Path) -> None:
    encrypted = c.create(
        key=key("broken"),
        storage=StorageOptions(encryption=True),
        data_key=log.cells.new_key(*key("broken")),
    )
    await asyncio.gather(log.writer.submit(encrypted), log.writer.submit(create("whole")))
    await log.writer.submit(c.set_context(key=key("broken"), data={"a": 1}))
    with sqlite3.connect(tmp_path / "sessions.db") as database:
        database.execute("UPDATE contexts SET data = zeroblob(length(data))")
    database.close()
    outcomes = await asyncio.gather(
        log.writer.submit(add("whole", "before")),
        log.writer.submit(c.update_context(key=key("broken"), changes=())),
        log.writer.submit(add("whole", "after")),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [Committed, DataCorrupted, Committed]
    page = await log.store.log(key("whole"), Sequence(0), 10)
    assert [event.data.body.content for event in page.events if isinstance(event.data, Message)] == [
        "before",
        "after",
    ]


async def test_a_caller_that_leaves_in_mid_commit_affects_no_other(log: Running) -> None:
    await log.writer.submit(create("s"))
    calls = [asyncio.create_task(log.writer.submit(add("s", f"m{number}"))) for number in range(200)]
    chosen = random.sample(range(200), 100)
    for number in chosen:
        await asyncio.sleep(0)
        calls[number].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    await log.writer.submit(add("s", "last"))
    page = await log.store.log(key("s"), Sequence(0), 1000)
    stored = [event.data.id for event in page.events if isinstance(event.data, Message)]
    assert [event.sequence for event in page.events] == list(range(1, len(page.events) + 1))
    answered = {f"m{number}" for number, outcome in enumerate(outcomes) if isinstance(outcome, Committed)}
    assert answered <= set(stored)
    assert len(stored) == len(set(stored)), "nothing was done twice"
    assert answered >= {f"m{number}" for number in range(200)} - {f"m{number}" for number in chosen}


async def test_acknowledged_writes_survive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        await first.writer.submit(create("s"))
        await asyncio.gather(*(first.writer.submit(add("s", f"m{number}")) for number in range(50)))
    async with running(tmp_path) as second:
        assert (await second.store.session(key("s"))).message_count == 50


def replacing(session: Session, *texts: str) -> Import:
    """The import of a session over one that is there, in slices of one message."""
    opening = c.import_session(key=session.key, exported=session, context={}, message_count=len(texts))
    message = Message("", Sequence(1), session.create_time, MessageBody("user"))
    some = [message._replace(id=text, body=MessageBody("user", text)) for text in texts]
    return Import(opening=opening, slices=lambda: iter([(ImportMessages((each,)),) for each in some]))


async def test_a_session_is_replaced_as_a_whole_or_not_at_all(log: Running) -> None:
    await log.writer.submit(create("s"))
    await log.writer.submit(add("s", "old"))
    session = await log.store.session(key("s"))
    with pytest.raises(MessageExists):
        await log.writer.import_(replacing(session, "a", "b", "a"))
    assert await log.store.session(key("s")) == session
    while await log.store.erase(10):
        pass
    log.published.clear()
    replaced = (await log.writer.import_(replacing(session, "a", "b"))).session_after()
    assert (replaced.message_count, replaced.last_sequence) == (2, 5)
    assert await log.store.session(key("s")) == replaced
    [announced] = log.published
    assert (announced.events, announced.head, announced.erased_through) == ([], 5, 2), (
        "watchers read the rest from the log"
    )


async def test_a_closed_writer_finishes_accepted_commits_and_accepts_no_more(tmp_path: Path) -> None:
    async with running(tmp_path) as log:
        await log.writer.submit(create("s"))
        calls = [asyncio.create_task(log.writer.submit(add("s", f"m{number}"))) for number in range(100)]
        await asyncio.sleep(0)
        log.writer.close()
        assert all(isinstance(answer, Committed) for answer in await asyncio.gather(*calls))
        with pytest.raises(ShuttingDown):
            await log.writer.submit(add("s", "late"))


async def test_callers_are_answered_before_the_watchers_are_woken(log: Running) -> None:
    order: list[str] = []
    woken = asyncio.Event()

    async def watch() -> None:
        await woken.wait()
        order.append("watcher")

    async def call(writer: Writer) -> None:
        await writer.submit(create("s"))
        order.append("caller")

    writer = Writer(log.store, announce=lambda _: woken.set())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        tasks.create_task(watch())
        await call(writer)
        await woken.wait()
        writer.close()
    assert order == ["caller", "watcher"]
