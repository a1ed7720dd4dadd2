"""Expiry: what timers do to a session, exact to the microsecond."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from sessions_server.domain.expiry import lapse, next_due, view
from sessions_server.domain.models import (
    SECOND,
    EventType,
    ExpiryAction,
    Micros,
    Persistence,
    Session,
    SessionConfig,
    State,
    StateChange,
    StateReason,
    StorageOptions,
)
from tests.unit.domain.build import T0, session

IDLE = SessionConfig(timeout=Micros(10 * SECOND))


def after(seconds: float, micros: int = 0) -> Micros:
    return Micros(T0 + round(seconds * SECOND) + micros)


def ttl(seconds: int, action: ExpiryAction = ExpiryAction.RETAIN, **changes: object) -> Session:
    return session(storage=StorageOptions(ttl=Micros(seconds * SECOND), expiry_action=action), **changes)


@pytest.mark.parametrize("state", [State.CREATED, State.ACTIVE])
def test_an_idle_session_expires_at_the_microsecond_and_not_before(state: State) -> None:
    idle = session(state=state, config=IDLE)
    assert view(idle, after(10, -1)) == idle
    expired = view(idle, after(10))
    assert expired is not None
    assert (expired.state, expired.expiry_reason) == (State.EXPIRED, StateReason.IDLE_TIMEOUT)
    assert expired.update_time == after(10)


@pytest.mark.parametrize("state", [State.PAUSED, State.ENDED, State.ARCHIVED])
def test_the_idle_timer_runs_in_no_other_state(state: State) -> None:
    assert next_due(session(state=state, config=IDLE)) is None


@pytest.mark.parametrize("state", [State.CREATED, State.ACTIVE, State.PAUSED])
def test_a_retained_session_is_expired_at_the_end_of_its_ttl(state: State) -> None:
    seen = view(ttl(60, state=state), after(60))
    assert seen is not None
    assert (seen.state, seen.expiry_reason) == (State.EXPIRED, StateReason.TTL)


def test_an_ended_session_is_retained_unchanged() -> None:
    assert next_due(ttl(60, state=State.ENDED)) is None


@pytest.mark.parametrize("state", [state for state in State if state is not State.ARCHIVED])
def test_a_session_can_be_archived_by_its_ttl_from_every_state(state: State) -> None:
    seen = view(ttl(60, ExpiryAction.ARCHIVE, state=state), after(60))
    assert seen is not None
    assert (seen.state, seen.archive_time) == (State.ARCHIVED, after(60))


@pytest.mark.parametrize("state", list(State))
def test_a_session_deleted_by_its_ttl_is_gone_from_every_state(state: State) -> None:
    doomed = ttl(60, ExpiryAction.DELETE, state=state)
    assert view(doomed, after(60, -1)) == doomed
    assert view(doomed, after(60)) is None


def test_a_temporary_session_is_gone_at_the_end_of_its_ttl() -> None:
    storage = StorageOptions(Persistence.TEMPORARY, ttl=Micros(60 * SECOND))
    lapsed = lapse(session(storage=storage, last_sequence=7), after(60))
    assert lapsed.session is None
    assert [(event.sequence, event.type) for event in lapsed.events] == [(8, EventType.DELETED)]


def test_two_expiries_due_at_once_happen_in_order() -> None:
    storage = StorageOptions(ttl=Micros(60 * SECOND), expiry_action=ExpiryAction.ARCHIVE)
    lapsed = lapse(session(config=IDLE, storage=storage), after(3600))
    changes = [event.data for event in lapsed.events]
    assert changes == [
        StateChange(State.EXPIRED, State.ACTIVE, StateReason.IDLE_TIMEOUT),
        StateChange(State.ARCHIVED, State.EXPIRED, StateReason.TTL),
    ]
    assert [event.time for event in lapsed.events] == [after(10), after(60)]
    assert lapsed.session is not None
    assert lapsed.session.state is State.ARCHIVED


def test_a_view_has_the_etag_that_the_recorded_expiry_will_have() -> None:
    idle = session(config=IDLE, last_sequence=5, revision=3)
    seen, recorded = view(idle, after(10)), lapse(idle, after(10)).session
    assert seen is not None
    assert recorded is not None
    assert seen.revision == recorded.revision == 6
    assert seen.last_sequence == 5, "the expiry is not in the log yet, so subscribers start before it"


durations = st.none() | st.integers(1, 100).map(lambda seconds: Micros(seconds * SECOND))


@given(
    state=st.sampled_from(State),
    timeout=durations,
    span=durations,
    action=st.sampled_from(ExpiryAction),
    now=st.integers(0, 250 * SECOND),
)
def test_an_expiry_is_recorded_once(
    state: State, timeout: Micros | None, span: Micros | None, action: ExpiryAction, now: int
) -> None:
    some = session(
        state=state,
        config=SessionConfig(timeout=timeout),
        storage=StorageOptions(ttl=span, expiry_action=action),
    )
    lapsed = lapse(some, Micros(T0 + now))
    assert [event.sequence for event in lapsed.events] == list(range(2, 2 + len(lapsed.events)))
    if lapsed.session is not None:
        assert lapse(lapsed.session, Micros(T0 + now)).events == ()
        assert view(lapsed.session, Micros(T0 + now)) == lapsed.session
