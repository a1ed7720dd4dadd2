"""Measures which part of a write costs the server how much, without gRPC: CPU time for each message.

Run by hand: `.venv/bin/python -m benchmarks.scale.writing`. Every message has a request id. Under load a transaction
takes the messages of all callers that wait, so the cost of one falls with their number. The option measures the same
with another layout of the file, in alternation with that of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.text import CONTENT, ROLE
from sessions_server.app import running_core
from sessions_server.domain.commit import Commit, NewSession, RequestStamp
from sessions_server.domain.models import MessageBody, MessageDraft, SessionConfig, SessionKey, StorageOptions
from sessions_server.domain.operations import Append
from sessions_server.domain.ports import LockWait
from sessions_server.service.ids import new_log_id, new_message_id
from sessions_server.settings import Settings
from sessions_server.storage.sqlite.runner import SqliteRunner

if TYPE_CHECKING:
    from sessions_server.domain.ports import Transaction
    from sessions_server.storage.store import Store

SHAPES: Final = ((1, 1), (64, 64), (512, 64))
"""How many messages a transaction has, and on how many sessions."""

PARTS: Final = ("load", "decide", "save", "commit", "hop")

ROUNDS: Final = 250

ALTERNATIONS: Final = 3
"""How often two layouts take turns; each has its cheapest run."""

PAGE_BYTES: Final = 4_096
"""SQLite's default."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a database file is laid out. The defaults are the server's."""

    page_bytes: int = PAGE_BYTES

    def __str__(self) -> str:
        return f"pages of {self.page_bytes} bytes"

    def create(self, path: Path) -> None:
        """Creates an empty file with this page size."""
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute(f"PRAGMA page_size = {self.page_bytes}")
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute("VACUUM")


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of CPU time of each transaction."""

    load: list[float] = field(default_factory=list)
    decide: list[float] = field(default_factory=list)
    save: list[float] = field(default_factory=list)
    commit: list[float] = field(default_factory=list)
    """BEGIN and COMMIT, and freeing what the transaction had loaded."""
    hop: list[float] = field(default_factory=list)
    """The event loop, and the way to the writer's thread and back."""
    written: list[float] = field(default_factory=list)
    """Bytes written to files."""

    def parts(self) -> dict[str, float]:
        """The seconds of each part in the cheapest tenth of the transactions, which other programs disturb least."""
        return {name: statistics.quantiles(getattr(self, name), n=10)[0] for name in PARTS}

    def total(self) -> float:
        return sum(self.parts().values())

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


async def measure(count: int, sessions: int, layout: Layout) -> Spent:
    spent = Spent()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "writing.db"
        settings = Settings(database_url=f"sqlite+aiosqlite:///{path}")
        layout.create(path)
        async with running_core(settings) as core:
            keys = [SessionKey("default", new_message_id()) for _ in range(sessions)]
            for key in keys:
                await core.writer.submit(Commit(key, create=_new_session()))
            await _fill_log(core.store, keys, count)
            for _ in range(ROUNDS):
                await _transact(core.store, list(commits(keys, count)), spent)
    return spent


def _new_session() -> NewSession:
    config, storage = SessionConfig(), StorageOptions()
    return NewSession(user_id="u", metadata={}, config=config, storage=storage, log_id=new_log_id())


async def _fill_log(store: Store, keys: list[SessionKey], count: int) -> None:
    """Writes until SQLite uses its write-ahead log again from the start: only while that file grows, the file system
    must write where it ends as well."""
    size = 0
    while store.log_bytes > size:
        size = store.log_bytes
        await _transact(store, list(commits(keys, count)), Spent())


async def _transact(store: Store, batch: list[Commit], spent: Spent) -> None:
    runner = store._runner
    assert isinstance(runner, SqliteRunner)
    writing = runner._writing
    written, in_thread = _bytes_written(), await writing.submit(time.thread_time)
    started = time.process_time()
    await store.transact(lambda transaction: spent.transact(transaction, batch))
    total = time.process_time() - started
    in_thread = await writing.submit(time.thread_time) - in_thread
    spent.commit.append(in_thread - spent.load[-1] - spent.decide[-1] - spent.save[-1])
    spent.hop.append(total - in_thread)
    spent.written.append(_bytes_written() - written)


def _bytes_written() -> int:
    """All bytes written by this process so far; 0 where the system does not count them."""
    try:
        counters = Path("/proc/self/io").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(dict(line.split(": ") for line in counters.splitlines())["wchar"])


def report(count: int, sessions: int, layout: Layout, spent: Spent) -> float:
    """Writes a line; returns the microseconds of each message."""
    written, total = statistics.mean(spent.written) / count, spent.total() / count * 1e6
    shown = ", ".join(f"{name} {seconds / count * 1e6:.0f}" for name, seconds in spent.parts().items())
    sys.stdout.write(
        f"{count:>3} messages on {sessions:>2} sessions, {layout}: {total:.0f} µs and {written:,.0f} bytes written a "
        f"message ({shown})\n"
    )
    return total


def compare(count: int, sessions: int, other: Layout | None) -> None:
    """Measures the server's layout and, in alternation, another one; reports the cheapest run of each."""
    layouts = [Layout()] if other is None else [Layout(), other]
    runs: dict[Layout, list[Spent]] = {layout: [] for layout in layouts}
    for _ in range(1 if other is None else ALTERNATIONS):
        for layout in layouts:
            runs[layout].append(asyncio.run(measure(count, sessions, layout)))
    totals = [report(count, sessions, layout, min(spent, key=Spent.total)) for layout, spent in runs.items()]
    if other is not None:
        sys.stdout.write(f"    {totals[1] / totals[0]:.2f} of the time\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page-bytes", type=int, default=PAGE_BYTES, help="the page size of the file")
    given = parser.parse_args()
    other = Layout(given.page_bytes)
    for count, sessions in SHAPES:
        compare(count, sessions, None if other == Layout() else other)


if __name__ == "__main__":
    main()
