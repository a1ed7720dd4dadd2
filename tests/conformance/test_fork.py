"""A fork starts as a copy of its source at an event, in one step, and is independent afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from sessions_server.domain.errors import (
    CursorAhead,
    EncryptionNotConfigured,
    EventsCompacted,
    RequestIdReused,
    SessionExists,
    SessionNotFound,
)
from sessions_server.domain.fork import Fork
from sessions_server.domain.models import (
    Created,
    EventType,
    ExpiryAction,
    ForkedFrom,
    Message,
    Sequence,
    Session,
    SessionConfig,
    SessionKey,
    State,
    StorageOptions,
)
from sessions_server.domain.ports import HistoryQuery
from sessions_server.domain.records import Scope
from tests.conformance.harness import KEY, OTHER, Harness, add, create, key, list_of, set_context, stamp
from tests.conformance.record_harness import IN_SESSION, all_of, micros, name, put, query, write
from tests.conformance.test_plans import recorded_statements
from tests.support import commits as c

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Cells
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock
    from tests.support.postgres import Postgres

COPY = key("copy")
IN_COPY = IN_SESSION._replace(session_id="copy")
METADATA: dict[str, Any] = {"a": 1}


async def fork(bench: Harness, at: int | None = None, **more: Any) -> Session:
    asked: dict[str, Any] = {"source": KEY, "key": COPY, "log_id": "of copy", **more}
    committed, bench.published = await bench.store.fork(
        Fork(at=None if at is None else Sequence(at), **asked)
    )
    return committed.session_after()


async def test_the_initial_context_of_a_fork_can_be_forgotten(bench: Harness) -> None:
    await bench.apply(create(), set_context({"secret": "canary"}))
    await fork(bench)
    assert (await bench.store.context(COPY)).data == {"secret": "canary"}
    await bench.do(c.set_context(key=COPY, data={"n": 1}, forget_past=True))

    def kept(connection: Connection) -> list[bytes]:
        text = "SELECT change FROM log WHERE session_id = 'copy' AND change IS NOT NULL"
        return [bytes(change) for (change,) in connection.execute(sa.text(text))]

    changes = await bench.store._runner.read(kept, snapshot=False)
    assert [change for change in changes if b"canary" in change] == []
    assert (await bench.store.context(COPY)).data == {"n": 1}
    assert (await bench.store.log(COPY, Sequence(0), 9)).events[0].type is EventType.CREATED


async def filled(bench: Harness, data_key: bytes | None = None) -> None:
    """Five messages, two of them cleared; a context written twice; two records, one of them expired."""
    new = create(metadata=METADATA, config=SessionConfig(context_window=7), data_key=data_key)
    await bench.apply(new, add("gone", "gone too"), c.clear_history(key=KEY))  # 1 to 4
    await bench.apply(add("a", "b"), set_context({"n": 1}))  # 5 to 7
    await bench.apply(add("c"), set_context({"n": 2}))  # 8 and 9
    await write(
        bench.store,
        put(name("k", scope=IN_SESSION), b"value", {"label": 1}, etag="kept"),
        put(name("short", scope=IN_SESSION), ttl=micros(1), labels={"label": 1}),
        data_key=data_key,
    )
    bench.clock.turn(seconds=2)


@pytest.fixture(params=["plain", "encrypted"])
def data_keys(request: pytest.FixtureRequest, cells: Cells) -> tuple[bytes, bytes] | tuple[None, None]:
    """The keys of the source and of the fork."""
    if request.param == "plain":
        return None, None
    return cells.new_key(*KEY), cells.new_key(*COPY)


async def test_a_fork_at_the_head_has_everything(
    bench: Harness, data_keys: tuple[bytes | None, bytes | None]
) -> None:
    await filled(bench, data_keys[0])
    source = await bench.store.session(KEY)
    session = await fork(bench, data_key=data_keys[1])
    assert session == (await bench.store.session(COPY))._replace(log_id=session.log_id)
    assert session.forked_from == ForkedFrom("s", Sequence(9))
    assert (session.state, session.user_id, session.metadata) == (State.CREATED, "u", METADATA)
    assert (session.config, session.storage) == (source.config, source.storage)
    assert (session.message_count, session.last_sequence, session.history_head) == (3, 4, 4)
    assert session.create_time == bench.clock.now()
    assert session.data_key == data_keys[1]
    assert await bench.contents(COPY) == ["a", "b", "c"]
    assert (await bench.store.context(COPY)).data == {"n": 2}
    [record] = await all_of(bench.store, query(scope=IN_COPY))
    assert (record.name, record.value, record.etag) == (name("k", scope=IN_COPY), b"value", "kept")
    assert [each.name for each in await all_of(bench.store, query(scope=IN_COPY, filter={"label": 1}))] == [
        record.name
    ]
    assert await bench.listed(list_of(metadata_filter=METADATA)) == ["s", "copy"]
    assert await bench.store.session(KEY) == source


async def test_messages_keep_their_ids_contents_and_times(bench: Harness) -> None:
    await filled(bench)
    await fork(bench)
    before, after = [(await bench.store.history(each, HistoryQuery(9))).messages for each in (KEY, COPY)]
    assert [message._replace(sequence=Sequence(0)) for message in after] == [
        message._replace(sequence=Sequence(0)) for message in before
    ]
    assert [message.sequence for message in after] == [2, 3, 4]


@pytest.mark.parametrize("has_other_events", [False, True])
async def test_the_messages_of_a_fork_have_consecutive_positions(
    bench: Harness, has_other_events: bool
) -> None:
    await bench.apply(create(), set_context({"n": 1}), add("a", "b"))  # 1 to 4
    await bench.apply(*([set_context({"n": 2})] if has_other_events else []), add("c"), set_context({"n": 3}))
    await fork(bench)
    again = key("copy of the copy")
    await fork(bench, source=COPY, key=again)
    for each in (COPY, again):
        messages = (await bench.store.history(each, HistoryQuery(9))).messages
        assert [(message.body.content, message.sequence) for message in messages] == [
            ("a", 2),
            ("b", 3),
            ("c", 4),
        ]


async def test_the_log_of_a_fork_names_its_origin(
    bench: Harness, data_keys: tuple[bytes | None, bytes | None]
) -> None:
    await filled(bench, data_keys[0])
    await fork(bench, data_key=data_keys[1], request=stamp("r"))
    assert [(each.key, each.events, each.head) for each in bench.published] == [(COPY, [], 4)]
    page = await bench.store.log(COPY, Sequence(0), 9)
    assert (page.head, page.log_start, page.log_id.partition(".")[0]) == (4, 1, "of copy")
    created, *messages = page.events
    assert created.type is EventType.CREATED
    assert isinstance(created.data, Created)
    assert created.data.forked_from == ForkedFrom("s", Sequence(9))
    assert [(each.sequence, each.request_id, each.time) for each in messages] == [
        (sequence, "r", bench.clock.now()) for sequence in (2, 3, 4)
    ]
    assert [each.data.body.content for each in messages if isinstance(each.data, Message)] == ["a", "b", "c"]


async def test_a_fork_of_the_past_has_no_records_and_no_erased_messages(
    bench: Harness, data_keys: tuple[bytes | None, bytes | None], cells: Cells
) -> None:
    await filled(bench, data_keys[0])
    session = await fork(bench, 7, data_key=data_keys[1])
    assert session.forked_from == ForkedFrom("s", Sequence(7))
    assert await bench.contents(COPY) == ["a", "b"]
    assert (await bench.store.context(COPY)).data == {"n": 1}
    assert await all_of(bench.store, query(scope=IN_COPY)) == []
    data_key = None if data_keys[1] is None else cells.new_key(*key("earlier"))
    earlier = await fork(bench, 3, key=key("earlier"), data_key=data_key)
    assert earlier.message_count == 0
    assert await bench.contents(key("earlier")) == []
    assert (await bench.store.context(key("earlier"))).data == {}


async def test_a_fork_can_be_read_as_it_was(bench: Harness) -> None:
    await filled(bench)
    await fork(bench)
    await bench.apply(set_context({"n": 3}, key=COPY), add("d", key=COPY))
    assert (await bench.store.context(COPY, Sequence(4))).data == {"n": 2}
    assert (await bench.store.context(COPY, Sequence(1))).data == {"n": 2}
    past = await bench.store.session(COPY, Sequence(4))
    assert (past.message_count, past.last_sequence) == (3, 4)
    assert (await bench.store.session(COPY)).message_count == 4
    assert await bench.contents() == ["a", "b", "c"]


async def test_a_fork_may_have_a_different_user_and_metadata(bench: Harness) -> None:
    await filled(bench)
    session = await fork(bench, user_id="v", metadata={"b": 2})
    assert (session.user_id, session.metadata) == ("v", {"b": 2})
    assert await bench.listed(list_of(metadata_filter={"b": 2})) == ["copy"]


async def test_an_empty_session_can_be_forked(bench: Harness) -> None:
    await bench.do(create())
    session = await fork(bench)
    assert (session.message_count, session.last_sequence, session.history_head) == (0, 1, 0)
    assert await bench.contents(COPY) == []


async def test_a_repeated_fork_returns_the_first_response(bench: Harness) -> None:
    await filled(bench)
    first = await fork(bench, request=stamp("r"))
    await bench.apply(add("d", key=COPY), c.delete(key=KEY))
    assert await fork(bench, request=stamp("r")) == first
    with pytest.raises(RequestIdReused):
        await fork(bench, request=stamp("r", payload=b"other"))


async def test_concurrent_equal_forks_have_one_effect(bench: Harness) -> None:
    await filled(bench)
    outcomes = await asyncio.gather(*(fork(bench, request=stamp("r")) for _ in range(4)))
    assert outcomes == [outcomes[0]] * 4
    assert await bench.contents(COPY) == ["a", "b", "c"]


async def test_an_impossible_fork_is_refused(bench: Harness, cells: Cells) -> None:
    await filled(bench)
    await bench.do(create(OTHER, data_key=cells.new_key(*OTHER)))
    for error, wanted in (
        (SessionNotFound, {"source": key("missing")}),
        (SessionNotFound, {"source": SessionKey("another", "s")}),
        (SessionExists, {"key": OTHER}),
        (CursorAhead, {"at": 10}),
        (EncryptionNotConfigured, {"source": OTHER}),
    ):
        with pytest.raises(error):
            await fork(bench, **wanted)
    assert await bench.listed(list_of()) == ["s", "other"]


async def test_a_compacted_position_cannot_be_forked(bench: Harness) -> None:
    await filled(bench)
    bench.clock.turn(seconds=8 * 24 * 3600)
    while await bench.store.compact(9):
        pass
    with pytest.raises(EventsCompacted):
        await fork(bench, 3)
    assert (await fork(bench)).message_count == 3


async def test_a_fork_into_an_id_that_was_erased_continues_its_log(bench: Harness) -> None:
    await filled(bench)
    await bench.apply(create(COPY), add("x", "y", key=COPY), c.delete(key=COPY))
    session = await fork(bench)
    assert session.last_sequence == 8
    assert [message.sequence for message in (await bench.store.history(COPY, HistoryQuery(9))).messages] == [
        6,
        7,
        8,
    ]


async def test_a_session_erased_by_its_ttl_cannot_be_forked(bench: Harness) -> None:
    fleeting = StorageOptions(ttl=micros(60), expiry_action=ExpiryAction.DELETE)
    await bench.do(create(storage=fleeting))
    bench.clock.turn(seconds=60)
    with pytest.raises(SessionNotFound):
        await fork(bench)


async def test_a_locked_source_is_read_without_waiting(
    postgres_url: str, opener: Opener, clock: HandClock, postgres: Postgres
) -> None:
    """Not on SQLite, where there is no other writer."""
    store = opener(postgres_url)
    await store.start()
    bench = Harness(store, clock)
    await filled(bench)
    engine = create_async_engine(postgres_url)
    async with engine.connect() as connection:
        await connection.execute(sa.text("UPDATE sessions SET user_id = 'other'"))
        await connection.execute(sa.text("DELETE FROM log"))
        assert (await fork(bench)).user_id == "u"
        await connection.rollback()
    await engine.dispose()
    assert await bench.contents(COPY) == ["a", "b", "c"]
    await store.close()


async def test_the_statements_of_a_fork_do_not_depend_on_its_messages(
    file_url: str, opener: Opener, clock: HandClock
) -> None:
    store = opener(file_url)
    bench, counts = Harness(store, clock), []
    with recorded_statements() as statements:
        await store.start()
        for number, into in ((3, "few"), (600, "many")):
            source = key(f"source of {number}")
            await bench.apply(create(source), add(*(f"m{each}" for each in range(number)), key=source))
            writes = [
                put(name(f"k{each}", scope=Scope(*source)), labels={"n": each}) for each in range(number)
            ]
            await write(store, *writes)
            statements.clear()
            await fork(bench, source=source, key=key(into))
            counts.append(
                sum(text.startswith(("SELECT", "INSERT", "UPDATE", "WITH")) for text in [*statements])
            )
    assert counts[0] == counts[1] < 20
    assert len(await bench.contents(key("many"))) == 600
    assert len(await all_of(store, query(scope=Scope("default", "many")))) == 600
    await store.close()
