"""Commits of several operations, reads of several things, and truncations, through the client."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from sessions_client import (
    LEFT_OUT,
    Aborted,
    AlreadyExists,
    AsyncClient,
    CommitResult,
    FailedPrecondition,
    Increment,
    InvalidArgument,
    Message,
    NotFound,
    Removed,
    Session,
    Set,
    ops,
)
from tests.support.amounts import amount

RACES: Final = amount("RACES", 20)
"""How many pairs of writers race for the same head."""


async def contents(client: AsyncClient, session: Session) -> list[str]:
    return [message.content for message in await client.sessions.get_history(session.id)]


async def add(client: AsyncClient, session: Session, *texts: str) -> list[Message]:
    messages = [{"role": "user", "content": text} for text in texts]
    return await client.sessions.add_messages(session.id, messages=messages)


async def events_of(client: AsyncClient, session_id: str, through: int) -> list[str]:
    kinds: list[str] = []
    async with client.sessions.subscribe(session_id, after_sequence=0) as events:
        async for event in events:
            kinds.append(event.type)
            if event.sequence == through:
                return kinds
    raise AssertionError("the stream ended too early")


async def test_a_commit_applies_all_its_operations_and_returns_their_results(
    client: AsyncClient, user_id: str
) -> None:
    result: CommitResult = await client.sessions.commit(
        None,
        ops.append(role="user", content="a"),
        ops.append(role="assistant", content="b", payload=b'{"n": 1.0}', payload_type="application/json"),
        ops.set_context({"a": 1}),
        ops.change_context(Increment("a", 2)),
        ops.merge_metadata({"k": "v"}),
        ops.move("start"),
        ops.truncate(oldest=1, return_removed=True),
        create=ops.new_session(user_id, metadata={"j": 1}),
        conditions=[ops.if_history_head(0), ops.if_last_sequence(1)],
        reads=[ops.read_context(""), ops.read_history("")],
    )
    session = result.session
    assert session is not None
    assert (session.user_id, session.state, session.metadata) == (user_id, "active", {"j": 1, "k": "v"})
    first, second, whole, changed, metadata, move, truncated = result.results
    assert (first.content, second.content, second.payload) == ("a", "b", b'{"n": 1.0}')
    assert whole == changed
    assert (metadata, move) == (None, None)
    assert truncated == Removed(count=1, messages=(first,))
    context, history = result.reads
    assert (context, context.etag) == ({"a": 3}, changed)
    assert history == [second]
    assert await client.sessions.get(session.id) == session
    assert await client.sessions.get_context(session.id) == {"a": 3}
    assert await client.sessions.get_history(session.id) == [second]
    assert await events_of(client, session.id, session.last_sequence) == [
        "created",
        "message",
        "message",
        "context_change",
        "updated",
        "state_change",
        "history_truncated",
    ]


async def test_a_refused_commit_changes_nothing_and_names_the_operation(
    client: AsyncClient, session: Session
) -> None:
    await client.sessions.set_context(session.id, context={"a": "text"})
    before = await client.sessions.get(session.id)
    with pytest.raises(FailedPrecondition) as refusal:
        await client.sessions.commit(
            session.id,
            ops.append(role="user", content="a"),
            ops.merge_metadata({"k": 1}),
            ops.change_context(Set("b", 1)),
            ops.change_context(Increment("a")),
        )
    assert refusal.value.reason == "PATH_CONFLICT"
    assert refusal.value.metadata["operation"] == "3"
    assert await client.sessions.get(session.id) == before
    assert await client.sessions.get_context(session.id) == {"a": "text"}
    assert await contents(client, session) == []


async def test_a_failed_condition_reports_the_current_value(client: AsyncClient, session: Session) -> None:
    (message,) = await add(client, session, "a")
    holds = [
        ops.if_session_etag(session.etag),
        ops.if_context_etag("0"),
        ops.if_history_head(message.sequence),
        ops.if_last_sequence(message.sequence),
    ]
    fails = [
        (ops.if_session_etag("0"), {"current_etag": session.etag}),
        (ops.if_context_etag("7"), {"current_etag": "0"}),
        (ops.if_history_head(0), {"current_sequence": str(message.sequence)}),
        (ops.if_last_sequence(0), {"current_sequence": str(message.sequence)}),
    ]
    for condition, facts in fails:
        with pytest.raises(Aborted) as refusal:
            await client.sessions.commit(
                session.id, ops.append(role="user", content="x"), conditions=[*holds, condition]
            )
        assert refusal.value.metadata == {"condition": str(len(holds)), **facts}
    await client.sessions.commit(session.id, ops.append(role="user", content="b"), conditions=holds)
    assert await contents(client, session) == ["a", "b"]


async def test_exactly_one_of_two_writers_with_the_same_head_wins(
    client: AsyncClient, session: Session
) -> None:
    head = 0
    for race in range(RACES):
        outcomes = await asyncio.gather(
            *(
                client.sessions.commit(
                    session.id,
                    ops.append(role="user", content=f"{race}{writer}"),
                    conditions=[ops.if_history_head(head)],
                )
                for writer in "ab"
            ),
            return_exceptions=True,
        )
        (winner,) = [outcome for outcome in outcomes if isinstance(outcome, CommitResult)]
        (loser,) = [outcome for outcome in outcomes if isinstance(outcome, Aborted)]
        head = winner.results[0].sequence
        assert loser.metadata["current_sequence"] == str(head)
    assert len(await client.sessions.get_history(session.id, limit=RACES + 1)) == RACES


async def test_a_repeated_commit_has_one_effect_and_the_first_response(
    client: AsyncClient, session: Session
) -> None:
    def commit() -> Any:
        return client.sessions.commit(
            session.id,
            ops.append(role="user", content="a"),
            ops.truncate(newest=1, return_removed=True),
            reads=[ops.read_history(session.id)],
            request_id="r-1",
        )

    first = await commit()
    await add(client, session, "later")
    again = await commit()
    assert (again.session, again.results) == (first.session, first.results)
    assert [message.content for message in again.reads[0]] == ["later"]
    assert await contents(client, session) == ["later"]
    with pytest.raises(FailedPrecondition) as refusal:
        await client.sessions.commit(session.id, ops.append(role="user", content="b"), request_id="r-1")
    assert refusal.value.reason == "REQUEST_ID_REUSED"


async def test_a_repeated_creation_returns_the_session_of_the_first(
    client: AsyncClient, user_id: str
) -> None:
    create = ops.new_session(user_id)
    first, again = [
        await client.sessions.commit(None, create=create, request_id=f"create-{user_id}") for _ in range(2)
    ]
    assert first.session is not None
    assert first.session == again.session


async def test_a_commit_may_use_an_existing_session(client: AsyncClient, user_id: str) -> None:
    name, append = f"own-{user_id}", ops.append(role="user", content="a")
    for _ in range(2):
        await client.sessions.commit(name, append, create=ops.new_session(user_id, if_exists="return"))
    assert len(await client.sessions.get_history(name)) == 2
    with pytest.raises(AlreadyExists):
        await client.sessions.commit(name, append, create=ops.new_session(user_id))
    with pytest.raises(NotFound):
        await client.sessions.commit(f"no-{user_id}", append)


async def test_a_commit_may_end_by_erasing_the_session(client: AsyncClient, session: Session) -> None:
    with pytest.raises(InvalidArgument, match="last operation"):
        await client.sessions.commit(session.id, ops.delete_session(), ops.append(role="user", content="a"))
    await client.sessions.commit(session.id, ops.append(role="user", content="a"), ops.delete_session())
    with pytest.raises(NotFound):
        await client.sessions.get(session.id)


async def test_combined_reads_return_none_for_what_does_not_exist(
    client: AsyncClient, session: Session
) -> None:
    (message,) = await add(client, session, "a")
    await client.sessions.set_context(session.id, context={"a": [1]})
    found = await client.read(
        ops.read_session(session.id),
        ops.read_session("missing"),
        ops.read_context(session.id, path="a.0"),
        ops.read_context("missing"),
        ops.read_history(session.id),
        ops.read_message(session.id, message.id),
        ops.read_message(session.id, "missing"),
    )
    assert found[0] == await client.sessions.get(session.id)
    assert (found[1], found[3], found[6]) == (None, None, None)
    assert (found[2].value, dict(found[2])) == (1, {})
    assert (found[4], found[5]) == ([message], message)


async def test_reads_that_do_not_fit_are_left_out(client: AsyncClient, session: Session) -> None:
    messages = [
        await client.sessions.add_message(session.id, role="user", payload=bytes(1_500_000)) for _ in range(3)
    ]
    found = await client.read(*(ops.read_message(session.id, message.id) for message in messages))
    assert found[0] == messages[0]
    assert found[-1] is LEFT_OUT


async def test_a_message_can_be_read_by_its_id(client: AsyncClient, session: Session) -> None:
    (message,) = await add(client, session, "a")
    assert await client.sessions.get_message(session.id, message.id) == message
    with pytest.raises(NotFound):
        await client.sessions.get_message(session.id, "missing")


async def test_a_history_can_be_truncated_at_either_end(client: AsyncClient, session: Session) -> None:
    messages = await add(client, session, *"abcdefgh")
    cuts: list[tuple[dict[str, Any], str, str]] = [
        ({"newest": 1}, "h", "abcdefg"),
        ({"oldest": 2}, "ab", "cdefg"),
        ({"after_sequence": messages[4].sequence}, "fg", "cde"),
        ({"through_sequence": messages[2].sequence}, "c", "de"),
        ({"newest": 0}, "", "de"),
        ({"after_sequence": 9999}, "", "de"),
        ({"newest": 9999}, "de", ""),
        ({"oldest": 1}, "", ""),
    ]
    for part, gone, left in cuts:
        removed = await client.sessions.truncate_history(session.id, return_removed=True, **part)
        assert ("".join(message.content for message in removed.messages), removed.count) == (gone, len(gone))
        assert "".join(await contents(client, session)) == left


async def test_the_newest_message_is_popped(client: AsyncClient, session: Session) -> None:
    first, second = await add(client, session, "a", "b")
    assert await client.sessions.pop_message(session.id) == second
    assert await client.sessions.pop_message(session.id, request_id="r-1") == first
    assert await client.sessions.pop_message(session.id, request_id="r-1") == first
    assert await client.sessions.pop_message(session.id) is None


async def test_truncated_messages_cannot_be_read_again(client: AsyncClient, session: Session) -> None:
    secret = (await add(client, session, "secret"))[0]
    await add(client, session, "kept")
    await client.sessions.commit(session.id, ops.erase_message(secret.id))
    assert await contents(client, session) == ["kept"]
    last = (await client.sessions.get(session.id)).last_sequence
    assert await client.sessions.get_history(session.id, at_sequence=secret.sequence) == []
    async with client.sessions.subscribe(session.id, after_sequence=0) as events:
        async for event in events:
            if event.sequence == secret.sequence:
                assert event.erased
            if event.sequence == last:
                assert (event.type, event.data.message_id, event.data.sequence) == (
                    "message_erased",
                    secret.id,
                    secret.sequence,
                )
                break
