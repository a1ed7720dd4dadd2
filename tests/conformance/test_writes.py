"""Write transactions: order, retries, refusals, and what a transaction sees of its own writes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from sessions_server.domain.codec import encode_data
from sessions_server.domain.errors import (
    EtagMismatch,
    InvalidState,
    MessageExists,
    SessionExists,
    SessionNotFound,
)
from sessions_server.domain.models import (
    Created,
    EventType,
    JsonObject,
    Message,
    MessageBody,
    MessageDraft,
    Micros,
    Sequence,
    Session,
    SessionConfig,
    State,
    StorageOptions,
)
from sessions_server.domain.ports import Cells, HistoryQuery, Transaction
from tests.conformance.harness import (
    KEY,
    OTHER,
    Harness,
    add,
    add_chosen,
    create,
    key,
    list_of,
    move,
    set_context,
    stamp,
    texts,
)
from tests.support import commits as c
from tests.support.commits import Answer, answer


async def test_a_created_session_is_read_back_as_returned(bench: Harness) -> None:
    metadata: JsonObject = {"device": {"os": "ios"}, "n": 1, "f": 1.5, "tags": ["a", None, True], "ü": "𝄞"}
    made = await bench.do(create(metadata=metadata, config=SessionConfig(max_messages=3, context_window=2)))
    assert isinstance(made, Session)
    assert (await bench.store.session(KEY))._replace(log_id=made.log_id) == made


async def test_events_are_numbered_without_gaps_across_commands_and_transactions(bench: Harness) -> None:
    await bench.apply(
        create(), add("a", "b"), create(OTHER), add("x", key=OTHER), set_context({"k": 1}), add("c")
    )
    await bench.apply(move(c.Verb.START), add("d"))
    page = await bench.store.log(KEY, Sequence(0), 100)
    assert [event.sequence for event in page.events] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.type for event in page.events] == [
        EventType.CREATED,
        EventType.MESSAGE,
        EventType.MESSAGE,
        EventType.CONTEXT_CHANGE,
        EventType.MESSAGE,
        EventType.STATE_CHANGE,
        EventType.MESSAGE,
    ]
    assert page.head == 7
    assert [published.head for published in bench.published] == [7]


async def test_a_stored_event_reads_back_as_it_was_published(bench: Harness) -> None:
    body = MessageBody(role="tool", name="n", tool_call_id="t", data={"a": [1]}, metadata={"b": None})
    await bench.apply(
        create(request="r1"), c.add_messages(key=KEY, drafts=(MessageDraft("m", body),), request=stamp("r2"))
    )
    page = await bench.store.log(KEY, Sequence(0), 100)
    for stored, published in zip(page.events, bench.published[0].events, strict=True):
        assert stored.data is not None
        assert published.data is not None
        assert (stored.key, stored.sequence, stored.type, stored.time, stored.request_id) == (
            published.key,
            published.sequence,
            published.type,
            published.time,
            published.request_id,
        )
        assert encode_data(stored.data) == encode_data(published.data)
    assert page.events[0].data == Created("u", State.CREATED)


async def test_a_refused_command_leaves_its_batch_untouched(bench: Harness) -> None:
    made, refused, added = await bench.apply(
        create(),
        c.update(
            key=KEY,
            paths=("metadata",),
            metadata={},
            config=SessionConfig(),
            storage=StorageOptions(),
            etag="99",
        ),
        add("a"),
    )
    assert isinstance(made, Session)
    assert isinstance(refused, EtagMismatch)
    assert texts(cast("tuple[Message, ...]", added)) == ["a"]
    assert (await bench.store.session(KEY)).last_sequence == 2


async def test_an_exception_in_the_work_rolls_everything_back(bench: Harness) -> None:
    def work(transaction: Transaction) -> None:
        workspace = transaction.load([create()])
        workspace.apply(create())
        transaction.save(workspace)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bench.store.transact(work)
    with pytest.raises(SessionNotFound):
        await bench.store.session(KEY)
    await bench.do(create())


async def test_a_chosen_message_id_with_the_same_content_returns_the_stored_message(bench: Harness) -> None:
    await bench.do(create())
    first = await bench.do(add_chosen("m", "a"))
    assert await bench.do(add_chosen("m", "a")) == first
    with pytest.raises(MessageExists):
        await bench.do(add_chosen("m", "b"))
    assert await bench.contents() == ["a"]


async def test_a_cleared_messages_id_is_free_again(bench: Harness) -> None:
    await bench.apply(create(), add_chosen("m", "a"))
    await bench.do(c.clear_history(key=KEY))
    await bench.do(add_chosen("m", "b"))
    assert await bench.contents() == ["b"]


async def test_a_truncated_messages_id_is_free_again_within_a_batch_too(
    bench: Harness,
) -> None:
    await bench.apply(
        create(config=SessionConfig(max_messages=3)), *(add_chosen(each, each) for each in "abc")
    )
    await bench.apply(set_context({}), *(add_chosen(each, each) for each in "dbea"))
    assert await bench.contents() == ["d", "e", "a"]


async def test_an_update_in_a_batch_applies_to_later_messages(bench: Harness) -> None:
    await bench.apply(create(), *(add_chosen(each, each) for each in "abc"))
    config = SessionConfig(max_messages=2)
    limited = c.update(
        key=KEY, paths=("config.max_messages",), metadata={}, config=config, storage=StorageOptions()
    )
    await bench.apply(limited, *(add_chosen(each, each) for each in "dba"))
    assert await bench.contents() == ["b", "a"]


async def test_a_log_continues_after_the_head_of_an_erased_session(bench: Harness) -> None:
    await bench.apply(create(), add("a", "b"))
    await bench.do(c.delete(key=KEY))
    made = await bench.do(create())
    assert isinstance(made, Session)
    assert made.last_sequence == 5
    assert await bench.contents() == []
    page = await bench.store.log(KEY, Sequence(0), 100)
    assert [event.sequence for event in page.events] == [5]
    assert page.log_start == 5
    await bench.do(c.delete(key=KEY))
    assert (await bench.store.heads([KEY]))[KEY] == 6


async def test_a_session_erased_and_recreated_in_one_batch_starts_empty(bench: Harness) -> None:
    await bench.apply(create(metadata={"old": 1}), add("old"), set_context({"old": 1}))
    await bench.apply(c.delete(key=KEY), create(metadata={"new": 1}), add("new"))
    assert (await bench.store.session(KEY)).metadata == {"new": 1}
    assert (await bench.store.context(KEY)).data == {}
    assert await bench.contents() == ["new"]
    page = await bench.store.log(KEY, Sequence(0), 100)
    assert [event.sequence for event in page.events] == [5, 6]


async def test_a_session_created_and_erased_in_one_batch_leaves_its_head(bench: Harness) -> None:
    await bench.apply(create(), add("a"), c.delete(key=KEY))
    assert (await bench.store.heads([KEY]))[KEY] == 3
    with pytest.raises(SessionNotFound):
        await bench.store.session(KEY)


async def test_loading_again_in_one_transaction_sees_saved_changes(bench: Harness) -> None:
    def commands() -> Iterator[c.Commit]:
        yield create(metadata={"a": 1})
        yield add("a", "b")
        yield set_context({"k": 1})
        yield c.clear_history(key=KEY)
        yield add("c")

    def work(transaction: Transaction) -> list[Answer]:
        answers = []
        for command in commands():
            workspace = transaction.load([command])
            answers.append(answer(command, workspace.apply(command)))
            transaction.save(workspace)
        return answers

    answers = await bench.store.transact(work)
    assert answers[3] == 2
    assert await bench.contents() == ["c"]
    assert (await bench.store.session(KEY)).last_sequence == 6


async def test_a_workspace_cannot_be_saved_twice(bench: Harness) -> None:
    def work(transaction: Transaction) -> None:
        workspace = transaction.load([create()])
        workspace.apply(create())
        transaction.save(workspace)
        transaction.save(workspace)

    with pytest.raises(ValueError, match="once"):
        await bench.store.transact(work)


async def test_a_cancelled_caller_does_not_interrupt_its_transaction(bench: Harness) -> None:
    task = asyncio.create_task(bench.do(create()))
    await asyncio.sleep(0)  # the transaction has begun
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(20):
        while not await bench.store.heads([KEY]):  # noqa: ASYNC110  # no store signals this
            await asyncio.sleep(0)


async def test_a_cancelled_read_leaves_the_store_usable(bench: Harness) -> None:
    await bench.do(create())
    for read in (
        bench.store.session(KEY),
        bench.store.context(KEY),
        bench.store.history(KEY, HistoryQuery()),
        bench.store.log(KEY, Sequence(0), 9),
        bench.store.sessions(list_of(metadata_filter={"a": 1})),
        bench.store.due(9),
    ):
        task = asyncio.ensure_future(read)
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await bench.do(add("a"))
    assert (await bench.store.session(KEY)).message_count == 1


async def test_a_store_can_be_closed_twice(bench: Harness) -> None:
    await bench.do(create())
    await bench.store.close()
    await bench.store.close()


async def test_an_import_replaces_a_session_in_one_transaction(bench: Harness, cells: Cells) -> None:
    await bench.apply(
        create(metadata={"old": 1}, data_key=cells.new_key(*KEY)), add("old"), set_context({"old": 1})
    )
    stored = await bench.store.session(KEY)
    exported = stored._replace(metadata={"new": 1}, config=SessionConfig(max_messages=9))
    messages = tuple(
        Message(f"m{number}", Sequence(0), Micros(number), MessageBody(content=f"new {number}"))
        for number in range(6)
    )

    async def replaced(*rounds: tuple[Message, ...]) -> None:
        def work(transaction: Transaction) -> None:
            commands: list[c.Commit] = [
                c.import_session(key=KEY, exported=exported, context={"new": 1}, message_count=6),
                *(c.import_messages(key=KEY, messages=part, request_id="import") for part in rounds),
            ]
            for command in commands:
                workspace = transaction.load([command])
                workspace.apply(command)
                transaction.save(workspace)

        await bench.store.transact(work)

    with pytest.raises(MessageExists):
        await replaced(messages[:3], messages[2:])
    assert await bench.contents() == ["old"]
    await replaced(messages[:3], messages[3:])
    page = await bench.store.history(KEY, HistoryQuery(9))
    log = await bench.store.log(KEY, Sequence(0), 100)
    assert {event.request_id for event in log.events if event.type is EventType.MESSAGE} == {"import", ""}
    assert [(each.id, each.create_time, each.sequence) for each in page.messages] == [
        (f"m{number}", number, number + 5) for number in range(6)
    ]
    assert (await bench.store.context(KEY)).data == {"new": 1}
    assert await bench.listed(list_of(metadata_filter={"new": 1})) == ["s"]
    assert await bench.listed(list_of(metadata_filter={"old": 1})) == []
    assert (await bench.store.session(KEY)).message_count == 6


async def test_one_command_a_transaction_keeps_the_order_of_many_writers(bench: Harness) -> None:
    await bench.do(create())
    await asyncio.gather(*(bench.do(add(f"m{number}")) for number in range(40)))
    page = await bench.store.log(KEY, Sequence(0), 100)
    assert [event.sequence for event in page.events] == list(range(1, 42))
    assert (await bench.store.session(KEY)).message_count == 40


async def test_one_of_many_equal_moves_wins(bench: Harness) -> None:
    await bench.do(create())
    outcomes = await asyncio.gather(*(bench.apply(move(c.Verb.END)) for _ in range(16)))
    assert sum(isinstance(outcome, Session) for (outcome,) in outcomes) == 1
    assert sum(isinstance(outcome, InvalidState) for (outcome,) in outcomes) == 15


async def test_one_of_many_creators_wins(bench: Harness) -> None:
    outcomes = await asyncio.gather(*(bench.apply(create(), add(f"m{number}")) for number in range(12)))
    assert sum(isinstance(made, Session) for made, _ in outcomes) == 1
    assert sum(isinstance(made, SessionExists) for made, _ in outcomes) == 11
    assert (await bench.store.session(KEY)).last_sequence == 13


async def test_tenants_are_isolated(bench: Harness) -> None:
    await bench.apply(create(), create(key("s", "b")), add("a"), add("b", key=key("s", "b")))
    await bench.do(c.delete(key=KEY))
    assert await bench.contents(key("s", "b")) == ["b"]
    assert await bench.store.keys(None, 10) == [key("s", "b")]
