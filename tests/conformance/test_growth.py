"""What a change adds to the database, and that nothing erased stays in the file or is returned again."""

from __future__ import annotations

import sqlite3
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.commit import Commit
from sessions_server.domain.context import Change, Increment, Remove
from sessions_server.domain.errors import CursorAhead, EventsCompacted
from sessions_server.domain.fork import Fork
from sessions_server.domain.models import MessageBody, MessageDraft, Sequence
from sessions_server.domain.operations import (
    Append,
    ChangeContext,
    EraseMessage,
    MergeMetadata,
    Part,
    SetContext,
    Truncate,
)
from sessions_server.domain.ports import HistoryQuery
from sessions_server.service.transfer import Transfers
from tests.conformance.harness import KEY, Harness, create, key, stamp
from tests.conformance.test_record_locks import running_writer
from tests.support import commits as c
from tests.support.figures import show

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

INCREMENTS = 200
MOST_BYTES = 200_000


def in_use(path: Path) -> int:
    """The used bytes of the file's pages."""
    with sqlite3.connect(path) as database:
        pages, free, size = (
            database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    database.close()
    return int((pages - free) * size)


def content_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


async def test_increments_in_a_large_context_add_little_to_the_database(
    file_url: str, opener: Opener, clock: HandClock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sessions.db"
    context = {f"k{number}": "x" * 1_000 for number in range(500)}
    store = opener(file_url)
    await store.start()
    bench = Harness(store, clock)
    await bench.apply(create(), c.set_context(key=KEY, data={**context, "n": 0}))
    before = in_use(path)
    change = Change("n", ("n",), Increment(1))
    for number in range(INCREMENTS):
        await bench.do(c.update_context(key=KEY, changes=(change,), request=stamp(f"r{number}")))
    after = in_use(path)
    assert (await store.context(KEY)).data["n"] == INCREMENTS
    await store.close()
    show(capsys, f"{INCREMENTS} increments in a context of 500 kB added {after - before} bytes")
    assert after - before < MOST_BYTES


def append(text: str) -> Append:
    return Append(MessageDraft("id", MessageBody("user", text, payload=text.encode()), chosen=True))


def commit(*operations: object, request: str = "") -> Commit:
    return Commit(
        key=KEY,
        operations=operations,  # type: ignore[arg-type]  # each is one
        request=stamp(request) if request else None,
        shows_context=True,
    )


CANARY = "canary-of-what-is-erased"


@pytest.mark.parametrize(
    ("write", "erase"),
    [
        (append(CANARY), Truncate(Part.NEWEST, 1)),
        (append(CANARY), EraseMessage("id")),
        (SetContext({"secret": CANARY}), SetContext({}, forget_past=True)),
        (SetContext({"secret": CANARY}), ChangeContext((Change("secret", ("secret",), Remove()),), True)),
    ],
    ids=["truncated", "erased", "replaced", "removed"],
)
async def test_nothing_erased_is_left_in_the_file_or_can_be_read_in_any_way(
    file_url: str,
    opener: Opener,
    clock: HandClock,
    cells: Cells,
    tmp_path: Path,
    write: object,
    erase: object,
) -> None:
    store = opener(file_url)
    await store.start()
    bench = Harness(store, clock)
    await bench.do(create())
    written = commit(write, request="w")
    await bench.commit(written)
    await bench.commit(
        commit(MergeMetadata({"a": 1}), SetContext({"n": 1}) if "secret" in str(write) else write)
    )
    await bench.commit(commit(erase, request="e"))
    forks = []
    for at in map(Sequence, range(2, 6)):
        fork = key(f"fork {at}")
        with suppress(EventsCompacted, CursorAhead):
            await store.fork(Fork(source=KEY, key=fork, at=at, log_id=f"log {at}"))
            forks.append(fork)
        for read in (store.context(KEY, at), store.history(KEY, HistoryQuery(at=at))):
            with suppress(EventsCompacted, CursorAhead):
                assert CANARY not in repr(await read)
    assert forks
    async with AsyncExitStack() as stack:
        writer = await running_writer(store, stack)
        transfers = Transfers(commits=writer, store=store, cells=cells, clock=clock)
        for each in (KEY, *forks):
            page = await store.log(each, Sequence(0), 100, changes=True)
            assert CANARY not in repr([event.data for event in page.events])
            assert CANARY not in repr(await store.context(each))
            assert CANARY not in repr(await store.history(each, HistoryQuery()))
            assert CANARY not in repr([record async for record in transfers.export(each)])
    repeated = await bench.commit(written)
    assert CANARY not in repr(repeated.context)
    assert CANARY not in repr(repeated.session)
    await store.close()
    assert CANARY.encode() not in content_of(tmp_path)
