"""What commands do to the sessions of a transaction, one after another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sessions_server.domain import commands as c
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
from tests.unit.domain.build import KEY, T0, add, create, session, stamp, workspace

if TYPE_CHECKING:
    from sessions_server.domain.workspace import Workspace


def types(space: Workspace) -> list[EventType]:
    return [event.type for event in space.slots[KEY].published]


def sequences(space: Workspace) -> list[int]:
    return [event.sequence for event in space.slots[KEY].published]


def current(space: Workspace) -> Session:
    found = space.slots[KEY].session
    assert found is not None
    return found


def test_a_session_begins_with_its_first_event() -> None:
    space = workspace()
    made = space.apply(create())
    assert isinstance(made, Session)
    assert (made.state, made.last_sequence, made.revision) == (State.CREATED, 1, 1)
    assert types(space) == [EventType.CREATED]


def test_an_id_that_is_taken_is_refused_or_answered_as_asked() -> None:
    space = workspace(session())
    with pytest.raises(SessionExists):
        space.apply(create())
    assert space.apply(create(return_existing=True)) == session()
    assert types(space) == []


@pytest.mark.parametrize("verb", list(c.Verb))
@pytest.mark.parametrize("state", list(State))
def test_a_verb_moves_a_session_only_from_the_states_of_the_table(verb: c.Verb, state: State) -> None:
    space = workspace(session(state=state))
    sources, target = TRANSITIONS[verb]
    if state in sources:
        assert isinstance(moved := space.apply(c.Move(key=KEY, verb=verb)), Session)
        assert moved.state is target
        assert space.slots[KEY].published[0].data == StateChange(target, state, StateReason.CALLER)
    else:
        with pytest.raises(InvalidState) as caught:
            space.apply(c.Move(key=KEY, verb=verb))
        assert caught.value.metadata == {"state": state.upper()}
        assert types(space) == []


@pytest.mark.parametrize("state", [State.PAUSED, State.ENDED, State.EXPIRED, State.ARCHIVED])
@pytest.mark.parametrize(
    "command",
    [add("a"), c.ClearHistory(key=KEY), c.SetContext(key=KEY, data={}), c.UpdateContext(key=KEY, changes=())],
)
def test_content_is_written_only_while_a_session_is_created_or_active(
    state: State, command: c.Command
) -> None:
    with pytest.raises(InvalidState):
        workspace(session(state=state)).apply(command)


def test_a_command_on_nothing_is_not_found() -> None:
    for command in (
        add("a"),
        c.Move(key=KEY, verb=c.Verb.END),
        c.Delete(key=KEY),
        c.SetContext(key=KEY, data={}),
    ):
        with pytest.raises(SessionNotFound):
            workspace().apply(command)


def test_messages_take_the_next_sequences_and_leave_the_etag() -> None:
    space = workspace(session(last_sequence=4, revision=3))
    space.apply(add("a", "b"))
    assert sequences(space) == [5, 6]
    assert (current(space).revision, current(space).message_count) == (3, 2)


def test_a_message_id_is_stored_once() -> None:
    space = workspace(session())
    first = space.apply(add("a", "b"))
    assert space.apply(add("b", "a")) == (first[1], first[0])  # type: ignore[index]  # two messages
    changed = add("a").drafts[0]
    other = changed._replace(body=changed.body._replace(content="other"))
    with pytest.raises(MessageExists):
        space.apply(c.AddMessages(key=KEY, drafts=(other,)))
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
def test_a_message_is_the_same_when_it_says_the_same(given: MessageBody, is_same: bool) -> None:
    space = workspace(session())
    first = space.apply(c.AddMessages(key=KEY, drafts=(MessageDraft("m", body(), chosen=True),)))
    again = c.AddMessages(key=KEY, drafts=(MessageDraft("m", given, chosen=True),))
    if is_same:
        assert space.apply(again) == first
        return
    with pytest.raises(MessageExists):
        space.apply(again)


def test_the_id_of_a_message_that_has_left_the_history_is_free() -> None:
    space = workspace(session(config=SessionConfig(max_messages=2)))
    space.apply(add("a", "b"))
    space.apply(add("c"))
    space.apply(add("b", "c"))  # they are still there
    assert sequences(space) == [2, 3, 4]
    space.apply(add("a"))
    assert sequences(space) == [2, 3, 4, 5]


def test_the_oldest_messages_leave_a_full_history() -> None:
    space = workspace(session(config=SessionConfig(max_messages=2), message_count=2))
    space.apply(add("a", "b", "c"))
    assert space.slots[KEY].dropped_oldest == 3
    assert current(space).message_count == 2


def test_a_full_history_that_rejects_stays_as_it_was() -> None:
    config = SessionConfig(max_messages=2, overflow=Overflow.REJECT)
    space = workspace(session(config=config, message_count=1))
    with pytest.raises(HistoryFull):
        space.apply(add("a", "b"))
    assert types(space) == []
    space.apply(add("a"))
    assert current(space).message_count == 2


def test_a_clear_forgets_what_was_dropped_before_it() -> None:
    space = workspace(session(config=SessionConfig(max_messages=1), message_count=1))
    space.apply(add("a"))
    assert space.apply(c.ClearHistory(key=KEY)) == 1
    slot = space.slots[KEY]
    assert (slot.dropped_oldest, slot.cleared_through, current(space).message_count) == (0, 2, 0)
    assert space.apply(c.ClearHistory(key=KEY)) == 0
    assert types(space) == [EventType.MESSAGE, EventType.HISTORY_CLEARED]


def test_a_context_has_an_etag_of_its_own() -> None:
    space = workspace(session())
    first = space.apply(c.SetContext(key=KEY, data={"a": 1}))
    assert isinstance(first, Context)
    space.apply(add("x"))
    second = space.apply(
        c.UpdateContext(key=KEY, etag=str(first.revision), changes=(Change("b", ("b",), Set(2)),))
    )
    assert isinstance(second, Context)
    assert second.data == {"a": 1, "b": 2}
    with pytest.raises(EtagMismatch) as caught:
        space.apply(c.SetContext(key=KEY, data={}, etag=str(first.revision)))
    assert caught.value.metadata == {"current_etag": str(second.revision)}
    assert current(space).revision == 1


def test_a_context_event_names_the_changed_paths() -> None:
    space = workspace(session())
    changes = (Change("a.b", ("a", "b"), Set(1)), Change("", (), Merge({"plain": 1, "with.dot": 2})))
    space.apply(c.UpdateContext(key=KEY, changes=changes))
    assert space.slots[KEY].published[0].data == ContextChange(("a.b", "plain", "/with.dot"))


def test_a_context_that_grows_too_large_is_kept_as_it_was() -> None:
    space = workspace(session(), limits=Limits(context_bytes=20))
    space.apply(c.SetContext(key=KEY, data={"a": "x" * 10}))
    with pytest.raises(LimitExceeded):
        space.apply(c.UpdateContext(key=KEY, changes=(Change("b", ("b",), Set("x" * 10)),)))
    kept = space.slots[KEY].context
    assert kept is not None
    assert kept.data == {"a": "x" * 10}


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    space = workspace(session(metadata={"a": 1, "b": 2}, config=SessionConfig(max_messages=5)))
    wanted = c.Update(
        key=KEY,
        paths=("metadata.a", "metadata.c", "config.context_window"),
        metadata={"c": 3},
        config=SessionConfig(context_window=7),
        storage=StorageOptions(),
    )
    assert isinstance(updated := space.apply(wanted), Session)
    assert updated.metadata == {"b": 2, "c": 3}
    assert updated.config == SessionConfig(max_messages=5, context_window=7)


def update(**given: Any) -> c.Update:
    made = c.Update(key=KEY, paths=(), metadata={}, config=SessionConfig(), storage=StorageOptions())
    return replace(made, **given)


def test_an_update_that_ends_a_session_by_its_own_answer_says_so() -> None:
    space = workspace(session(), now=Micros(T0 + 10 * SECOND))
    idle = update(paths=("config.timeout",), config=SessionConfig(timeout=Micros(5 * SECOND)))
    assert isinstance(expired := space.apply(idle), Session)
    assert (expired.state, expired.last_sequence, expired.revision) == (State.EXPIRED, 3, 3)
    assert types(space) == [EventType.UPDATED, EventType.STATE_CHANGE]


def test_an_update_that_deletes_a_session_answers_how_it_was() -> None:
    space = workspace(session(), now=Micros(T0 + 10 * SECOND))
    storage = StorageOptions(ttl=Micros(5 * SECOND), expiry_action=ExpiryAction.DELETE)
    paths = ("storage_options.ttl", "storage_options.expiry_action")
    assert isinstance(answer := space.apply(update(paths=paths, storage=storage)), Session)
    assert answer.state is State.ACTIVE
    assert types(space) == [EventType.UPDATED, EventType.DELETED]
    assert space.slots[KEY].session is None


@pytest.mark.parametrize("state", [State.ENDED, State.EXPIRED])
def test_nothing_changes_after_the_end_of_the_ttl(state: State) -> None:
    storage = StorageOptions(ttl=Micros(5 * SECOND))
    space = workspace(session(state=state, storage=storage), now=Micros(T0 + 5 * SECOND - 1))
    space.apply(update(paths=("metadata.a",), metadata={"a": 1}))
    space.now = Micros(T0 + 5 * SECOND)
    with pytest.raises(InvalidState):
        space.apply(update(paths=("metadata.a",), metadata={"a": 2}))


def test_a_temporary_session_may_be_told_what_it_does_anyway() -> None:
    storage = StorageOptions(
        Persistence.TEMPORARY, ttl=Micros(60 * SECOND), expiry_action=ExpiryAction.DELETE
    )
    space = workspace(session(storage=storage))
    paths = ("storage_options.ttl", "storage_options.expiry_action")
    assert isinstance(space.apply(update(paths=paths, storage=storage)), Session)
    for other in (storage._replace(expiry_action=ExpiryAction.RETAIN), storage._replace(ttl=None)):
        with pytest.raises(InvalidRequest):
            space.apply(update(paths=paths, storage=other))


def test_every_event_of_a_call_has_its_request_id() -> None:
    storage = StorageOptions(Persistence.TEMPORARY, ttl=Micros(60 * SECOND))
    space = workspace(session(storage=storage))
    space.apply(c.Move(key=KEY, verb=c.Verb.END, request=stamp("end")))
    assert [event.request_id for event in space.slots[KEY].published] == ["end", "end"]


def test_a_stale_etag_of_the_session_is_refused() -> None:
    space = workspace(session(revision=1))
    space.apply(c.Move(key=KEY, verb=c.Verb.PAUSE, etag="1"))
    for command in (c.Move(key=KEY, verb=c.Verb.RESUME, etag="1"), c.Delete(key=KEY, etag="garbage")):
        with pytest.raises(EtagMismatch) as caught:
            space.apply(command)
        assert caught.value.metadata == {"current_etag": "2"}


def test_a_repeated_request_has_one_effect_and_the_first_answer() -> None:
    space = workspace(session())
    first = space.apply(add("a", request=stamp("r")))
    space.apply(add("b"))
    assert space.apply(add("a", request=stamp("r"))) == first
    assert sequences(space) == [2, 3]


@pytest.mark.parametrize("other", [stamp("r", payload=b"q"), stamp("r", method="N")])
def test_a_request_id_serves_one_request(other: c.RequestStamp) -> None:
    space = workspace(session())
    space.apply(add("a", request=stamp("r")))
    with pytest.raises(RequestIdReused):
        space.apply(add("a", request=other))


def test_a_refused_request_leaves_its_id_free() -> None:
    space = workspace(session(state=State.CREATED))
    with pytest.raises(InvalidState):
        space.apply(c.Move(key=KEY, verb=c.Verb.PAUSE, request=stamp("r")))
    assert isinstance(space.apply(c.Move(key=KEY, verb=c.Verb.START, request=stamp("r"))), Session)


def test_a_deleted_session_leaves_the_position_of_its_head_and_the_deletions_request() -> None:
    space = workspace(session(last_sequence=8))
    space.apply(add("a", request=stamp("earlier")))
    space.apply(c.Delete(key=KEY, request=stamp("r")))
    slot = space.slots[KEY]
    assert (slot.session, slot.last_sequence, slot.log, slot.erased) == (None, 10, [], True)
    assert [request.stamp.id for request in slot.new_requests] == ["r"]
    assert space.apply(c.Delete(key=KEY, request=stamp("r"))) is None
    with pytest.raises(SessionNotFound):
        space.apply(c.Delete(key=KEY))
    assert isinstance(again := space.apply(create()), Session)
    assert again.last_sequence == 11


def test_a_temporary_session_is_erased_when_it_ends() -> None:
    space = workspace(session(storage=StorageOptions(Persistence.TEMPORARY, ttl=Micros(60 * SECOND))))
    assert isinstance(ended := space.apply(c.Move(key=KEY, verb=c.Verb.END)), Session)
    assert ended.state is State.ENDED
    assert types(space) == [EventType.STATE_CHANGE, EventType.DELETED]
    assert space.slots[KEY].session is None
    with pytest.raises(SessionNotFound):
        space.apply(add("a"))


def test_an_expiry_that_is_due_is_recorded_before_the_command_is_judged() -> None:
    idle = session(config=SessionConfig(timeout=Micros(10 * SECOND)))
    space = workspace(idle, now=Micros(T0 + 10 * SECOND))
    with pytest.raises(InvalidState):
        space.apply(add("late"))
    assert isinstance(resumed := space.apply(c.Move(key=KEY, verb=c.Verb.RESUME, etag="2")), Session)
    assert resumed.state is State.ACTIVE
    assert types(space) == [EventType.STATE_CHANGE, EventType.STATE_CHANGE]
    space.apply(c.Expire(key=KEY))
    assert sequences(space) == [2, 3]


def test_an_import_replaces_content_and_keeps_the_sequence_going() -> None:
    space = workspace(session(last_sequence=5, message_count=2, state=State.ACTIVE))
    exported = session(metadata={"from": "export"}, state=State.ENDED, last_sequence=90)
    space.apply(c.Import(key=KEY, exported=exported, context={"k": 1}, message_count=1))
    assert isinstance(answer := current(space), Session)
    assert (answer.metadata, answer.state, answer.last_sequence) == ({"from": "export"}, State.ACTIVE, 6)
    with pytest.raises(SessionExists):
        space.apply(c.Import(key=KEY, exported=exported, context={}, message_count=0, fail_if_exists=True))
    assert space.slots[KEY].cleared_through == Sequence(5)


def test_a_refused_command_leaves_the_session_to_the_next() -> None:
    space = workspace(session())
    with pytest.raises(DomainError):
        space.apply(c.UpdateContext(key=KEY, changes=(Change("a.b", ("a", "b"), Set(1)),), etag="nonsense"))
    space.apply(add("a"))
    assert sequences(space) == [2]
