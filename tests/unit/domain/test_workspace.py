"""The effect of commands on the sessions of a transaction, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sessions_server.domain.context import Change, Merge, Set
from sessions_server.domain.errors import (
    DomainError,
    EtagMismatch,
    HistoryFull,
    InvalidRequest,
    InvalidState,
    LimitExceeded,
    MessageExists,
    RequestIdReused,
    SessionExists,
    SessionNotFound,
)
from sessions_server.domain.history import Span
from sessions_server.domain.lifecycle import TRANSITIONS
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import (
    SECOND,
    ClaimedTime,
    Context,
    ContextChange,
    EventType,
    ExpiryAction,
    MessageBody,
    MessageDraft,
    Micros,
    Overflow,
    Persistence,
    Sequence,
    Session,
    SessionConfig,
    State,
    StateChange,
    StateReason,
    StorageOptions,
)
from tests.support import commits as c
from tests.unit.domain.build import KEY, T0, add, create, do, draft, session, stamp, workspace

if TYPE_CHECKING:
    from sessions_server.domain.workspace import Workspace


def types(space: Workspace) -> list[EventType]:
    return [event.type for event in space.slots[KEY].published]


def sequences(space: Workspace) -> list[int]:
    return [event.sequence for event in space.slots[KEY].published]


def current(space: Workspace) -> Session:
    found = space.slots[KEY].facts.session
    assert found is not None
    return found


def test_a_session_starts_with_its_first_event() -> None:
    space = workspace()
    made = do(space, create())
    assert isinstance(made, Session)
    assert (made.state, made.last_sequence, made.revision) == (State.CREATED, 1, 1)
    assert types(space) == [EventType.CREATED]


def test_a_taken_id_is_refused_or_returned_as_requested() -> None:
    space = workspace(session())
    with pytest.raises(SessionExists):
        do(space, create())
    assert do(space, create(return_existing=True)) == session()
    assert types(space) == []


@pytest.mark.parametrize("verb", list(c.Verb))
@pytest.mark.parametrize("state", list(State))
def test_a_verb_moves_a_session_only_from_the_states_of_the_table(verb: c.Verb, state: State) -> None:
    space = workspace(session(state=state))
    sources, target = TRANSITIONS[verb]
    if state in sources:
        assert isinstance(moved := do(space, c.move(key=KEY, verb=verb)), Session)
        assert moved.state is target
        assert space.slots[KEY].published[0].data == StateChange(target, state, StateReason.CALLER)
    else:
        with pytest.raises(InvalidState) as caught:
            do(space, c.move(key=KEY, verb=verb))
        assert caught.value.metadata == {"state": state.upper()}
        assert types(space) == []


@pytest.mark.parametrize("state", [State.PAUSED, State.ENDED, State.EXPIRED, State.ARCHIVED])
@pytest.mark.parametrize(
    "command",
    [
        add("a"),
        c.clear_history(key=KEY),
        c.set_context(key=KEY, data={}),
        c.update_context(key=KEY, changes=()),
    ],
)
def test_content_is_written_only_while_a_session_is_created_or_active(
    state: State, command: c.Commit
) -> None:
    with pytest.raises(InvalidState):
        do(workspace(session(state=state)), command)


def test_a_command_on_a_missing_session_is_not_found() -> None:
    for command in (
        add("a"),
        c.move(key=KEY, verb=c.Verb.END),
        c.delete(key=KEY),
        c.set_context(key=KEY, data={}),
    ):
        with pytest.raises(SessionNotFound):
            do(workspace(), command)


def test_messages_get_the_next_sequences_and_keep_the_etag() -> None:
    space = workspace(session(last_sequence=4, revision=3))
    do(space, add("a", "b"))
    assert sequences(space) == [5, 6]
    assert (current(space).revision, current(space).message_count) == (3, 2)


def test_a_message_id_is_stored_once() -> None:
    space = workspace(session())
    first = do(space, add("a", "b"))
    assert isinstance(first, tuple)
    assert do(space, add("b", "a")) == (first[1], first[0])
    changed = draft("a")
    other = changed._replace(body=changed.body._replace(content="other"))
    with pytest.raises(MessageExists):
        do(space, c.add_messages(key=KEY, drafts=(other,)))
    assert sequences(space) == [2, 3]


def body(**given: Any) -> MessageBody:
    made = MessageBody("user", "a", data={"n": 1}, metadata={}, timestamp=ClaimedTime(1, 1_500))
    return made._replace(**given)


@pytest.mark.parametrize(
    ("given", "is_same"),
    [
        (body(), True),
        (body(data={"n": 1.0}), False),
        (body(data={"n": True}), False),
        (body(data=None), False),
        (body(metadata=None), True),
        (body(metadata={"a": 1}), False),
        (body(timestamp=ClaimedTime(1, 1_999)), True),
        (body(timestamp=ClaimedTime(1, 2_000)), False),
        (body(timestamp=None), False),
    ],
)
def test_messages_with_the_same_content_are_the_same(given: MessageBody, is_same: bool) -> None:
    space = workspace(session())
    first = do(space, c.add_messages(key=KEY, drafts=(MessageDraft("m", body(), chosen=True),)))
    again = c.add_messages(key=KEY, drafts=(MessageDraft("m", given, chosen=True),))
    if is_same:
        assert do(space, again) == first
        return
    with pytest.raises(MessageExists):
        do(space, again)


def test_the_id_of_a_removed_message_is_free() -> None:
    space = workspace(session(config=SessionConfig(max_messages=2)))
    do(space, add("a", "b"))
    do(space, add("c"))
    do(space, add("b", "c"))  # they still exist
    assert sequences(space) == [2, 3, 4]
    do(space, add("a"))
    assert sequences(space) == [2, 3, 4, 5]


def test_the_oldest_messages_leave_a_full_history() -> None:
    space = workspace(session(config=SessionConfig(max_messages=2), message_count=2))
    do(space, add("a", "b", "c"))
    removed = space.slots[KEY].facts.history.removed
    assert removed == (Span(Sequence(1), Sequence(2)),), "of the three the first is new"
    assert current(space).message_count == 2


def test_a_full_history_that_rejects_is_unchanged() -> None:
    config = SessionConfig(max_messages=2, overflow=Overflow.REJECT)
    space = workspace(session(config=config, message_count=1))
    with pytest.raises(HistoryFull):
        do(space, add("a", "b"))
    assert types(space) == []
    do(space, add("a"))
    assert current(space).message_count == 2


def test_a_clear_forgets_what_was_dropped_before_it() -> None:
    space = workspace(session(config=SessionConfig(max_messages=1), message_count=1))
    do(space, add("a"))
    assert do(space, c.clear_history(key=KEY)) == 1
    assert space.slots[KEY].facts.history.removed[-1] == Span(Sequence(1), Sequence(2))
    assert current(space).message_count == 0
    assert do(space, c.clear_history(key=KEY)) == 0
    assert types(space) == [EventType.MESSAGE, EventType.HISTORY_CLEARED]


def test_a_context_has_its_own_etag() -> None:
    space = workspace(session())
    first = do(space, c.set_context(key=KEY, data={"a": 1}))
    assert isinstance(first, Context)
    do(space, add("x"))
    second = do(
        space, c.update_context(key=KEY, etag=str(first.revision), changes=(Change("b", ("b",), Set(2)),))
    )
    assert isinstance(second, Context)
    assert second.data == {"a": 1, "b": 2}
    with pytest.raises(EtagMismatch) as caught:
        do(space, c.set_context(key=KEY, data={}, etag=str(first.revision)))
    assert caught.value.metadata == {"current_etag": str(second.revision)}
    assert current(space).revision == 1


def test_a_context_event_names_the_changed_paths() -> None:
    space = workspace(session())
    changes = (Change("a.b", ("a", "b"), Set(1)), Change("", (), Merge({"plain": 1, "with.dot": 2})))
    do(space, c.update_context(key=KEY, changes=changes))
    assert space.slots[KEY].published[0].data == ContextChange(("a.b", "plain", "/with.dot"), changes)


def test_a_change_that_makes_a_context_too_large_has_no_effect() -> None:
    space = workspace(session(), limits=Limits(context_bytes=20))
    do(space, c.set_context(key=KEY, data={"a": "x" * 10}))
    with pytest.raises(LimitExceeded):
        do(space, c.update_context(key=KEY, changes=(Change("b", ("b",), Set("x" * 10)),)))
    kept = space.slots[KEY].facts.context
    assert kept is not None
    assert kept.data == {"a": "x" * 10}


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    space = workspace(session(metadata={"a": 1, "b": 2}, config=SessionConfig(max_messages=5)))
    wanted = c.update(
        key=KEY,
        paths=("metadata.a", "metadata.c", "config.context_window"),
        metadata={"c": 3},
        config=SessionConfig(context_window=7),
        storage=StorageOptions(),
    )
    assert isinstance(updated := do(space, wanted), Session)
    assert updated.metadata == {"b": 2, "c": 3}
    assert updated.config == SessionConfig(max_messages=5, context_window=7)


def update(**given: Any) -> c.Commit:
    nothing: dict[str, Any] = {"metadata": {}, "config": SessionConfig(), "storage": StorageOptions()}
    return c.update(key=KEY, **{"paths": (), **nothing, **given})


def test_an_update_that_expires_the_session_returns_it_expired() -> None:
    space = workspace(session(), now=Micros(T0 + 10 * SECOND))
    idle = update(paths=("config.timeout",), config=SessionConfig(timeout=Micros(5 * SECOND)))
    assert isinstance(expired := do(space, idle), Session)
    assert (expired.state, expired.last_sequence, expired.revision) == (State.EXPIRED, 3, 3)
    assert types(space) == [EventType.UPDATED, EventType.STATE_CHANGE]


def test_an_update_that_deletes_a_session_returns_its_last_state() -> None:
    space = workspace(session(), now=Micros(T0 + 10 * SECOND))
    storage = StorageOptions(ttl=Micros(5 * SECOND), expiry_action=ExpiryAction.DELETE)
    paths = ("storage_options.ttl", "storage_options.expiry_action")
    assert isinstance(answer := do(space, update(paths=paths, storage=storage)), Session)
    assert answer.state is State.ACTIVE
    assert types(space) == [EventType.UPDATED, EventType.DELETED]
    assert space.slots[KEY].facts.session is None


@pytest.mark.parametrize("state", [State.ENDED, State.EXPIRED])
def test_nothing_changes_after_the_end_of_the_ttl(state: State) -> None:
    storage = StorageOptions(ttl=Micros(5 * SECOND))
    space = workspace(session(state=state, storage=storage), now=Micros(T0 + 5 * SECOND - 1))
    do(space, update(paths=("metadata.a",), metadata={"a": 1}))
    space.now = Micros(T0 + 5 * SECOND)
    with pytest.raises(InvalidState):
        do(space, update(paths=("metadata.a",), metadata={"a": 2}))


def test_a_temporary_session_accepts_its_own_expiry_action() -> None:
    storage = StorageOptions(
        Persistence.TEMPORARY, ttl=Micros(60 * SECOND), expiry_action=ExpiryAction.DELETE
    )
    space = workspace(session(storage=storage))
    paths = ("storage_options.ttl", "storage_options.expiry_action")
    assert isinstance(do(space, update(paths=paths, storage=storage)), Session)
    for other in (storage._replace(expiry_action=ExpiryAction.RETAIN), storage._replace(ttl=None)):
        with pytest.raises(InvalidRequest):
            do(space, update(paths=paths, storage=other))


def test_every_event_of_a_call_has_its_request_id() -> None:
    storage = StorageOptions(Persistence.TEMPORARY, ttl=Micros(60 * SECOND))
    space = workspace(session(storage=storage))
    do(space, c.move(key=KEY, verb=c.Verb.END, request=stamp("end")))
    assert [event.request_id for event in space.slots[KEY].published] == ["end", "end"]


def test_a_stale_etag_of_the_session_is_refused() -> None:
    space = workspace(session(revision=1))
    do(space, c.move(key=KEY, verb=c.Verb.PAUSE, etag="1"))
    for command in (c.move(key=KEY, verb=c.Verb.RESUME, etag="1"), c.delete(key=KEY, etag="garbage")):
        with pytest.raises(EtagMismatch) as caught:
            do(space, command)
        assert caught.value.metadata == {"current_etag": "2"}


def test_a_repeated_request_has_one_effect_and_the_first_response() -> None:
    space = workspace(session())
    first = do(space, add("a", request=stamp("r")))
    do(space, add("b"))
    assert do(space, add("a", request=stamp("r"))) == first
    assert sequences(space) == [2, 3]


@pytest.mark.parametrize("other", [stamp("r", payload=b"q"), stamp("r", method="N")])
def test_a_request_id_is_valid_for_one_request(other: c.RequestStamp) -> None:
    space = workspace(session())
    do(space, add("a", request=stamp("r")))
    with pytest.raises(RequestIdReused):
        do(space, add("a", request=other))


def test_a_refused_request_leaves_its_id_free() -> None:
    space = workspace(session(state=State.CREATED))
    with pytest.raises(InvalidState):
        do(space, c.move(key=KEY, verb=c.Verb.PAUSE, request=stamp("r")))
    assert isinstance(do(space, c.move(key=KEY, verb=c.Verb.START, request=stamp("r"))), Session)


def test_a_deleted_session_leaves_its_head_and_the_deletions_request() -> None:
    space = workspace(session(last_sequence=8))
    do(space, add("a", request=stamp("earlier")))
    do(space, c.delete(key=KEY, request=stamp("r")))
    slot = space.slots[KEY]
    facts = slot.facts
    assert (facts.session, facts.last_sequence, slot.log, slot.erased) == (None, 10, [], True)
    assert [(request.stamp.id, request.kept is None) for request in slot.new_requests.values()] == [
        ("earlier", True),
        ("r", False),
    ]
    assert do(space, c.delete(key=KEY, request=stamp("r"))) is None
    with pytest.raises(SessionNotFound):
        do(space, c.delete(key=KEY))
    assert isinstance(again := do(space, create()), Session)
    assert again.last_sequence == 11


def test_a_temporary_session_is_erased_when_it_ends() -> None:
    space = workspace(session(storage=StorageOptions(Persistence.TEMPORARY, ttl=Micros(60 * SECOND))))
    assert isinstance(ended := do(space, c.move(key=KEY, verb=c.Verb.END)), Session)
    assert ended.state is State.ENDED
    assert types(space) == [EventType.STATE_CHANGE, EventType.DELETED]
    assert space.slots[KEY].facts.session is None
    with pytest.raises(SessionNotFound):
        do(space, add("a"))


def test_a_due_expiry_is_recorded_before_the_command_is_decided() -> None:
    idle = session(config=SessionConfig(timeout=Micros(10 * SECOND)))
    space = workspace(idle, now=Micros(T0 + 10 * SECOND))
    with pytest.raises(InvalidState):
        do(space, add("late"))
    assert isinstance(resumed := do(space, c.move(key=KEY, verb=c.Verb.RESUME, etag="2")), Session)
    assert resumed.state is State.ACTIVE
    assert types(space) == [EventType.STATE_CHANGE, EventType.STATE_CHANGE]
    do(space, c.expire(key=KEY))
    assert sequences(space) == [2, 3]


def test_a_refused_command_leaves_the_session_for_the_next() -> None:
    space = workspace(session())
    with pytest.raises(DomainError):
        do(space, c.update_context(key=KEY, changes=(Change("a.b", ("a", "b"), Set(1)),), etag="nonsense"))
    do(space, add("a"))
    assert sequences(space) == [2]
