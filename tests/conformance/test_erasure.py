"""Cleared, truncated or erased content cannot be read again: by no read and, on SQLite, not from the disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from sessions_server.domain.errors import DataCorrupted, SessionNotFound
from sessions_server.domain.models import (
    SECOND,
    EventType,
    Message,
    MessageBody,
    MessageDraft,
    Micros,
    Overflow,
    Persistence,
    Sequence,
    SessionConfig,
    SessionKey,
    StorageOptions,
)
from sessions_server.domain.ports import Cells, HistoryQuery
from sessions_server.storage.schema import requests
from tests.conformance.harness import KEY, OTHER, Harness, add, create, list_of, move, set_context, stamp
from tests.support import commits as c

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

SHORT = SessionConfig(max_messages=3, overflow=Overflow.TRUNCATE_OLDEST)
TEMPORARY = StorageOptions(persistence=Persistence.TEMPORARY, ttl=Micros(60 * SECOND))


async def contents_of_log(bench: Harness) -> list[str | None]:
    """For each event: a message's text, None if erased, and the type of any other event."""
    page = await bench.store.log(KEY, Sequence(0), 1_000)
    return [
        None
        if event.erased
        else event.data.body.content
        if isinstance(event.data, Message)
        else str(event.type)
        for event in page.events
    ]


async def test_a_cleared_message_leaves_an_event_without_content(bench: Harness) -> None:
    await bench.apply(create(), add("a", "b"))
    assert await bench.do(c.clear_history(key=KEY)) == 2
    assert bench.published[0].erased_through == 3
    assert await bench.contents() == []
    assert await contents_of_log(bench) == ["created", None, None, "history_cleared"]
    await bench.do(add("c"))
    assert await bench.contents() == ["c"]
    assert (await bench.store.session(KEY)).message_count == 1


async def test_a_message_cleared_in_its_own_batch_is_never_stored(bench: Harness) -> None:
    await bench.apply(create(), add("a"), c.clear_history(key=KEY), add("b"))
    assert await bench.contents() == ["b"]
    assert await contents_of_log(bench) == ["created", None, "history_cleared", "b"]


async def test_the_oldest_messages_leave_an_overlong_history(bench: Harness) -> None:
    await bench.apply(create(config=SHORT), add("a", "b"))
    await bench.do(add("c", "d"))
    assert await bench.contents() == ["b", "c", "d"]
    assert bench.published[0].erased_through == 2
    assert await contents_of_log(bench) == ["created", None, "b", "c", "d"]
    await bench.do(set_context({"between": 1}))
    await bench.do(add("e"))
    assert await bench.contents() == ["c", "d", "e"]
    assert await contents_of_log(bench) == ["created", None, None, "c", "d", "context_change", "e"]


async def test_a_batch_longer_than_the_history_keeps_its_newest(bench: Harness) -> None:
    await bench.apply(create(config=SHORT), add("a", "b", "c", "d", "e"), add("f"))
    assert await bench.contents() == ["d", "e", "f"]
    assert await contents_of_log(bench) == ["created", None, None, None, "d", "e", "f"]


async def test_several_sessions_are_truncated_in_one_batch(bench: Harness) -> None:
    await bench.apply(
        create(config=SHORT), create(OTHER, config=SHORT), add("a"), add("1", "2", "3", key=OTHER)
    )
    await bench.apply(add("4", key=OTHER), add("b", "c", "d"), add("5", key=OTHER))
    assert await bench.contents() == ["b", "c", "d"]
    assert await bench.contents(OTHER) == ["3", "4", "5"]


async def test_a_clear_and_a_truncation_in_one_batch_add_up(bench: Harness) -> None:
    await bench.apply(create(config=SHORT), add("a", "b", "c"))
    await bench.apply(add("d"), c.clear_history(key=KEY), add("e", "f"), add("g", "h"))
    assert await bench.contents() == ["f", "g", "h"]


async def test_only_the_head_of_an_erased_session_is_left(bench: Harness) -> None:
    await bench.apply(create(metadata={"m": "x"}), add("a", request=stamp("r")), set_context({"k": 1}))
    await bench.do(c.delete(key=KEY))
    for read in (
        bench.store.session(KEY),
        bench.store.context(KEY),
        bench.store.history(KEY, HistoryQuery()),
    ):
        with pytest.raises(SessionNotFound):
            await read
    page = await bench.store.log(KEY, Sequence(0), 100)
    assert (page.events, page.head, page.delete_time) == ((), 4, bench.clock.now())
    assert [event.type for event in bench.published[0].events] == [EventType.DELETED]
    assert bench.published[0].erased_through == 3
    assert await bench.listed(list_of(metadata_filter={"m": "x"})) == []
    assert await bench.store.keys(None, 10) == []


async def test_ending_a_temporary_session_erases_it(bench: Harness) -> None:
    await bench.apply(create(storage=TEMPORARY), add("a"))
    await bench.do(move(c.Verb.END))
    assert [event.type for event in bench.published[0].events] == [EventType.STATE_CHANGE, EventType.DELETED]
    with pytest.raises(SessionNotFound):
        await bench.store.session(KEY)


async def test_encrypted_content_does_not_decrypt_in_another_session(bench: Harness, cells: Cells) -> None:
    await bench.apply(create(data_key=cells.new_key(*KEY)), add("a"))
    with pytest.raises(DataCorrupted):
        await bench.do(create(OTHER, data_key=cells.new_key(*KEY)))  # the key was wrapped for another session
    with pytest.raises(SessionNotFound):
        await bench.store.session(OTHER)
    assert await bench.contents() == ["a"]


SECRET = "a plaintext that is not to be found"


def secret(session: SessionKey, message_id: str, *, request: str = "") -> c.Commit:
    draft = MessageDraft(message_id, MessageBody(role="user", content=SECRET))
    return c.add_messages(key=session, drafts=(draft,), request=stamp(request) if request else None)


def stored_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


async def emptied(wal: Path) -> None:
    """Waits until the write-ahead log is truncated."""
    for size in iter(lambda: wal.stat().st_size, 0):
        assert size > 0
        await asyncio.sleep(0.005)


async def test_encrypted_content_is_never_unencrypted_on_the_disk(
    file_url: str, tmp_path: Path, opener: Opener, clock: HandClock, cells: Cells
) -> None:
    # SQLite's files can be inspected directly; PostgreSQL gets the same bytes from the same code.
    store = opener(file_url)
    await store.start()
    bench = Harness(store, clock)
    encrypted = create(data_key=cells.new_key(*KEY))
    await bench.apply(encrypted, secret(KEY, "m", request="r1"), set_context({"k": SECRET}, request="r2"))
    await bench.do(c.update_context(key=KEY, changes=(), request=stamp("r3")))
    assert SECRET.encode() not in stored_bytes(tmp_path)
    await bench.apply(create(OTHER), secret(OTHER, "m"))
    assert SECRET.encode() in stored_bytes(tmp_path), "the search finds content that is there"
    await store.close()


@pytest.mark.parametrize(
    "erase",
    [
        (c.clear_history(key=KEY),),
        (add("1", "2", "3"),),
        (c.delete(key=KEY),),
        (c.delete(key=KEY), create()),
        (move(c.Verb.END),),
    ],
    ids=["clear", "truncate", "delete", "delete and create", "end"],
)
async def test_erased_plaintext_leaves_the_files_of_a_running_server(
    erase: tuple[c.Commit, ...], file_url: str, tmp_path: Path, opener: Opener, clock: HandClock
) -> None:
    # On PostgreSQL, vacuum removes it at a later time.
    store = opener(file_url)
    await store.start()
    bench = Harness(store, clock)
    await bench.apply(
        create(config=SHORT, storage=TEMPORARY), secret(KEY, "m1"), secret(KEY, "m2"), create(OTHER)
    )
    await bench.do(add("moves the write-ahead log on", key=OTHER))
    assert SECRET.encode() in stored_bytes(tmp_path)
    await bench.apply(*erase)
    await emptied(tmp_path / "sessions.db-wal")
    assert SECRET.encode() not in stored_bytes(tmp_path)
    await store.close()


async def test_busy_readers_do_not_keep_erased_plaintext_on_the_disk(
    file_url: str, tmp_path: Path, opener: Opener, clock: HandClock
) -> None:
    store = opener(file_url)
    await store.start()
    bench = Harness(store, clock)
    await bench.apply(create(), secret(KEY, "m"))
    stop = asyncio.Event()

    async def read() -> None:
        while not stop.is_set():
            await store.sessions(list_of())

    async with asyncio.TaskGroup() as readers:
        for _ in range(8):
            readers.create_task(read())
        await bench.do(c.clear_history(key=KEY))
        await emptied(tmp_path / "sessions.db-wal")
        stop.set()
    assert SECRET.encode() not in stored_bytes(tmp_path)
    await store.close()


async def test_only_server_made_ids_are_kept_with_a_deleted_sessions_request_ids(
    bench: Harness, cells: Cells
) -> None:
    chosen = MessageDraft("chosen", MessageBody(role="user", content="c"), chosen=True)
    await bench.apply(
        create(data_key=cells.new_key(*KEY)),
        add("a", request=stamp("made")),
        c.add_messages(key=KEY, drafts=(chosen,), request=stamp("chosen")),
        set_context({"secret": 1}, request="context"),
    )
    await bench.do(c.delete(key=KEY))

    def answers(connection: Connection) -> dict[str, bytes]:
        found = connection.execute(sa.select(requests.c.request_id, requests.c.answer))
        return {id_: bytes(answer) for id_, answer in found}

    kept = await bench.store._read(answers)
    assert {id_ for id_, answer in kept.items() if answer} == {"made"}
    assert b"id of a" in kept["made"]
