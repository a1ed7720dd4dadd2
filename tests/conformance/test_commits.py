"""Commits of many operations, on every store: all or nothing, with the promised events and results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.commit import Commit, NewSession, without_session
from sessions_server.domain.context import Change, Increment
from sessions_server.domain.errors import (
    DomainError,
    EtagMismatch,
    InvalidRequest,
    InvalidState,
    PathConflict,
    SessionNotFound,
)
from sessions_server.domain.models import (
    EventType,
    HistoryTruncated,
    MessageBody,
    MessageDraft,
    MessageErased,
    Overflow,
    RecordsChange,
    Sequence,
    SessionConfig,
    StorageOptions,
)
from sessions_server.domain.operations import (
    Append,
    ChangeContext,
    ContextEtag,
    ContextWritten,
    DeleteSession,
    Done,
    EraseMessage,
    HistoryHead,
    LastSequence,
    MergeMetadata,
    Move,
    Operation,
    Part,
    Removed,
    SessionEtag,
    SetContext,
    Truncate,
    Verb,
)
from sessions_server.domain.ports import HistoryQuery
from sessions_server.domain.reads import ContextRead, ReadContext, ReadHistory, ReadMessage, ReadSession
from sessions_server.domain.records import (
    DeleteRecord,
    PutRecord,
    RecordIs,
    RecordName,
    RecordsDeleted,
    RecordState,
    RecordWritten,
    Scope,
)
from tests.conformance.harness import KEY, OTHER, Harness, add, add_chosen, create, stamp

if TYPE_CHECKING:
    from sessions_server.domain.operations import Condition
    from sessions_server.domain.ports import Cells


def append(text: str, *, role: str = "user", tool_call_id: str = "") -> Append:
    body = MessageBody(role=role, content=text, tool_call_id=tool_call_id)
    return Append(MessageDraft(f"id of {text}", body, chosen=True))


def commit(*operations: Operation, conditions: tuple[Condition, ...] = (), request: str = "") -> Commit:
    return Commit(
        key=KEY,
        operations=operations,
        conditions=conditions,
        request=stamp(request) if request else None,
        numbers_errors=True,
    )


def record(key: str, *, user: bool = False) -> RecordName:
    scope = Scope("default", user_id="u") if user else Scope("default", session_id=KEY.session_id)
    return RecordName(scope, ("notes",), key)


def put(key: str, etag: str, *, user: bool = False, if_absent: bool = False) -> PutRecord:
    return PutRecord(record(key, user=user), b"value", {}, etag, if_absent=if_absent)


def kinds(bench: Harness) -> list[EventType]:
    return [event.type for event in bench.published[0].events]


async def test_operations_are_applied_in_order_with_consecutive_events(bench: Harness) -> None:
    new = NewSession(user_id="u", metadata={"a": 1}, config=SessionConfig(), storage=StorageOptions())
    increment = ChangeContext((Change("n", ("n",), Increment(1)),))
    done = await bench.commit(
        Commit(
            key=KEY,
            create=new,
            conditions=(LastSequence(Sequence(1)), HistoryHead(Sequence(0)), ContextEtag("0")),
            operations=(
                *(append("a"), append("b"), SetContext({"n": 1}), increment, append("c")),
                *(put("k", "e1"), MergeMetadata({"b": 2}), Truncate(Part.OLDEST, 1), Move(Verb.START)),
                put("k2", "e2"),
            ),
        )
    )
    assert kinds(bench) == [
        *(EventType.CREATED, EventType.MESSAGE, EventType.MESSAGE, EventType.CONTEXT_CHANGE),
        *(EventType.MESSAGE, EventType.UPDATED, EventType.HISTORY_TRUNCATED, EventType.STATE_CHANGE),
        EventType.RECORDS_CHANGE,
    ]
    assert [event.sequence for event in bench.published[0].events] == list(range(1, 10))
    assert done.results[2:4] == (ContextWritten(Sequence(4)), ContextWritten(Sequence(4)))
    assert done.results[5:8] == (RecordWritten("e1"), Done(), Removed(1))
    stored = await bench.store.session(KEY)
    assert done.session is not None
    assert done.session == stored._replace(
        history_start=done.session.history_start, log_id=done.session.log_id
    )
    assert (done.session.message_count, done.session.history_head, done.session.state) == (2, 5, "active")
    assert await bench.contents() == ["b", "c"]
    assert (await bench.store.context(KEY)).data == {"n": 2}
    changes = bench.published[0].events[-1].data
    assert isinstance(changes, RecordsChange)
    assert [(change.name.key, change.etag, change.deleted) for change in changes.changes] == [
        ("k", "e1", False),
        ("k2", "e2", False),
    ]


REFUSED: dict[str, tuple[Commit, type[DomainError], dict[str, str]]] = {
    "a condition": (
        commit(append("x"), conditions=(LastSequence(Sequence(9)),)),
        EtagMismatch,
        {"condition": "0", "current_sequence": "4"},
    ),
    "a second condition": (
        commit(append("x"), conditions=(HistoryHead(Sequence(3)), SessionEtag("7"))),
        EtagMismatch,
        {"condition": "1", "current_etag": "1"},
    ),
    "a record's condition": (
        commit(append("x"), conditions=(RecordIs(record("k"), RecordState.ABSENT),)),
        EtagMismatch,
        {"condition": "0", "current_etag": "e0"},
    ),
    "the last operation": (
        commit(
            *(append("x"), put("k", "e9"), SetContext({"x": 1}), Truncate(Part.NEWEST, 1)),
            ChangeContext((Change("x.y", ("x", "y"), Increment(1)),)),
        ),
        PathConflict,
        {"operation": "4", "change": "0"},
    ),
    "a move": (
        commit(put("k", "e9"), Move(Verb.RESUME)),
        InvalidState,
        {"operation": "1", "state": "CREATED"},
    ),
    "another session's record": (
        commit(append("x"), PutRecord(record("k")._replace(scope=Scope("default", "other")), b"", {}, "e")),
        InvalidRequest,
        {"operation": "1"},
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
async def test_a_refused_commit_changes_nothing(
    bench: Harness, case: tuple[Commit, type[DomainError], dict[str, str]]
) -> None:
    refused, error, metadata = case
    await bench.commit(commit_of_new_session())
    before = (await bench.store.session(KEY), await bench.store.context(KEY), await bench.contents())
    with pytest.raises(error) as caught:
        await bench.commit(refused)
    assert caught.value.metadata == metadata
    assert bench.published == []
    assert (await bench.store.session(KEY), await bench.store.context(KEY), await bench.contents()) == before
    await bench.commit(
        commit(append("after"), conditions=(RecordIs(record("k"), RecordState.UNCHANGED, "e0"),))
    )


def commit_of_new_session() -> Commit:
    new = NewSession(user_id="u", metadata={}, config=SessionConfig(), storage=StorageOptions())
    operations = (append("a"), append("b"), put("k", "e0"))
    return Commit(key=KEY, create=new, operations=operations)


PARTS: dict[str, tuple[Truncate, list[str], int]] = {
    "the newest": (Truncate(Part.NEWEST, 2), ["m0", "m1", "m2"], 4),
    "the oldest": (Truncate(Part.OLDEST, 2), ["m2", "m3", "m4"], 7),
    "after a sequence": (Truncate(Part.AFTER, 4), ["m0", "m1", "m2"], 4),
    "through a sequence": (Truncate(Part.THROUGH, 3), ["m2", "m3", "m4"], 7),
    "everything": (Truncate(Part.NEWEST, 99), [], 0),
    "everything from the other end": (Truncate(Part.THROUGH, 2**40), [], 0),
}


@pytest.mark.parametrize(("truncate", "left", "head"), PARTS.values(), ids=PARTS.keys())
@pytest.mark.parametrize("together", [False, True], ids=["alone", "in one batch"])
async def test_a_truncation_removes_one_end_and_its_content(
    bench: Harness, truncate: Truncate, left: list[str], head: int, together: bool
) -> None:
    texts = [f"m{number}" for number in range(5)]
    commits = [create(), add("m0", "m1", "m2"), commit(MergeMetadata({"a": 1})), add("m3", "m4")]
    if together:
        await bench.apply(*commits, commit(truncate))
    else:
        for each in commits:
            await bench.do(each)
        await bench.do(commit(truncate))
    assert await bench.contents() == left
    page = await bench.store.log(KEY, Sequence(0), 100)
    shown = {event.sequence for event in page.events if event.type is EventType.MESSAGE and not event.erased}
    assert len(shown) == len(left)
    expected = HistoryTruncated(len(texts) - len(left), Sequence(head))
    assert page.events[-1].data == expected
    session = await bench.store.session(KEY)
    assert (session.message_count, session.history_head) == (len(left), head)
    await bench.do(commit(append("next"), conditions=(HistoryHead(Sequence(head)),)))
    assert await bench.contents() == [*left, "next"]


async def test_a_truncation_of_nothing_has_no_event(bench: Harness) -> None:
    await bench.do(create())
    done = await bench.commit(commit(Truncate(Part.NEWEST, 1), Truncate(Part.AFTER, 0)))
    assert done.results == (Removed(0), Removed(0))
    assert bench.published == []


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_removed_messages_are_returned_also_by_a_repetition(
    bench: Harness, cells: Cells, encrypted: bool
) -> None:
    await bench.apply(create(data_key=cells.new_key(*KEY) if encrypted else None), add("a", "b", "c"))
    pop = commit(Truncate(Part.NEWEST, 2, return_removed=True), request="r")
    done = await bench.commit(pop)
    [removed] = done.results
    assert isinstance(removed, Removed)
    assert [message.body.content for message in removed.messages] == ["b", "c"]
    assert (await bench.commit(pop)).results == done.results
    assert await bench.contents() == ["a"]


async def test_many_removals_in_one_commit_are_counted_correctly(bench: Harness) -> None:
    await bench.apply(create(), add(*(f"m{number}" for number in range(40))))
    done = await bench.commit(
        commit(
            *(append("n0"), Truncate(Part.OLDEST, 3), EraseMessage("id of m20"), Truncate(Part.NEWEST, 2)),
            *(EraseMessage("id of m3"), EraseMessage("id of m3"), Truncate(Part.THROUGH, 7), append("n1")),
            *(Truncate(Part.AFTER, 38), append("n2"), EraseMessage("missing")),
        )
    )
    assert [result.count for result in done.results if isinstance(result, Removed)] == [
        3,
        1,
        2,
        1,
        0,
        2,
        3,
        0,
    ]
    left = [f"m{number}" for number in range(6, 37) if number != 20]
    assert await bench.contents() == [*left, "n2"]
    session = await bench.store.session(KEY)
    assert session.message_count == len(left) + 1
    assert session.history_head == session.last_sequence


async def test_an_erased_message_leaves_the_history_and_its_id_is_free(bench: Harness) -> None:
    await bench.apply(create(), add_chosen("a", "first"), add_chosen("b", "second"))
    await bench.commit(commit(EraseMessage("b")))
    assert bench.published[0].events[-1].data == MessageErased("b", Sequence(3), Sequence(2))
    assert await bench.contents() == ["first"]
    await bench.do(add_chosen("b", "another"))
    assert await bench.contents() == ["first", "another"]


async def test_whole_turns_leave_a_history_that_is_too_long(bench: Harness) -> None:
    config = SessionConfig(max_messages=4, overflow=Overflow.TRUNCATE_TURNS)
    await bench.do(create(config=config))
    turn = (append("u1"), append("call", role="assistant"), append("result", role="tool", tool_call_id="c"))
    await bench.do(commit(*turn, append("answer", role="assistant")))
    await bench.do(commit(append("u2")))
    assert await bench.contents() == ["u2"]
    assert kinds(bench) == [EventType.MESSAGE, EventType.HISTORY_TRUNCATED]
    await bench.do(commit(*(append(f"r{number}", role="tool", tool_call_id="c") for number in range(4))))
    assert await bench.contents() == [], "a history does not begin with a tool result whose call is missing"


async def test_a_page_of_whole_turns_begins_with_one(bench: Harness) -> None:
    roles = ["user", "assistant", "tool", "assistant", "user", "assistant"]
    await bench.do(create())
    await bench.do(commit(*(append(f"m{number}", role=role) for number, role in enumerate(roles))))
    for limit, expected in ((6, 6), (5, 2), (4, 2), (2, 2), (1, 1)):
        page = await bench.store.history(KEY, HistoryQuery(limit, whole_turns=True))
        assert len(page.messages) == expected
        assert page.has_more is (expected < len(roles))


async def test_a_commit_without_a_session_writes_records_and_no_event(bench: Harness) -> None:
    key = without_session("default", "r")
    writes = Commit(
        key=key,
        operations=(put("k", "e1", user=True), DeleteRecord(record("other", user=True))),
        request=stamp("r"),
    )
    done = await bench.commit(writes)
    assert done.results == (RecordWritten("e1"), RecordsDeleted(0))
    assert done.session is None
    assert [change.events for change in bench.published] in ([], [[]])
    assert await bench.commit(writes) == done
    condition = RecordIs(record("k", user=True), RecordState.UNCHANGED, "e0")
    with pytest.raises(EtagMismatch) as caught:
        await bench.commit(Commit(key=without_session("default", "r2"), conditions=(condition,)))
    assert caught.value.metadata == {"current_etag": "e1"}


async def test_reads_of_a_commit_see_its_result(bench: Harness) -> None:
    await bench.do(create())
    reads = (
        ReadSession(KEY),
        ReadContext(KEY, ("a",)),
        ReadHistory(KEY, HistoryQuery()),
        ReadMessage(KEY, "id of x"),
        ReadMessage(KEY, "missing"),
        ReadSession(OTHER),
    )
    session, context, page, message, *missing = await bench.read_after(
        commit(append("x"), SetContext({"a": 5})), reads
    )
    assert session == await bench.store.session(KEY)
    assert isinstance(context, ContextRead)
    assert (context.context.data, context.value) == ({"a": 5}, 5)
    assert (page, message) == (
        await bench.store.history(KEY, HistoryQuery()),
        (await bench.store.history(KEY, HistoryQuery())).messages[0],
    )
    assert missing == [None, None]
    assert await bench.store.read(reads) == (session, context, page, message, None, None)


async def test_a_deletion_ends_a_commit_and_removes_the_records(bench: Harness) -> None:
    await bench.commit(commit_of_new_session())
    done = await bench.commit(commit(append("c"), put("k3", "e3"), DeleteSession(), request="r"))
    assert kinds(bench) == [EventType.MESSAGE, EventType.RECORDS_CHANGE, EventType.DELETED]
    assert done.session is not None
    with pytest.raises(SessionNotFound):
        await bench.store.session(KEY)
    await bench.do(create())
    await bench.commit(commit(append("n"), conditions=(RecordIs(record("k"), RecordState.ABSENT),)))


async def test_a_message_with_a_role_or_payload_needs_no_content(bench: Harness, cells: Cells) -> None:
    payload = bytes(range(256)) * 10
    drafts = (
        MessageDraft("empty", MessageBody(role="tool")),
        MessageDraft("bytes", MessageBody(payload=payload, payload_type="application/x", role="user")),
    )
    for key in (KEY, OTHER):
        await bench.do(create(key, data_key=cells.new_key(*key) if key is OTHER else None))
        await bench.do(Commit(key=key, operations=tuple(map(Append, drafts))))
        page = await bench.store.history(key, HistoryQuery())
        assert [message.body for message in page.messages] == [draft.body for draft in drafts]
