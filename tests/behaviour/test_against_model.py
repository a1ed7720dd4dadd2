"""Random lives of sessions, through the client, against a model: what one says the other must say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from sessions_client import (
    Append,
    Client,
    Increment,
    MessageDict,
    Overflow,
    Remove,
    Session,
    SessionConfig,
    SessionsError,
)
from tests.behaviour.model import VERBS, Model, Refused
from tests.support.server import start_server

keys = st.sampled_from(["a", "b", "with.dot", "nul\0", "__proto__"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(-1e6, 1e6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
contents = st.text(min_size=1, max_size=12)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with start_server(tmp_path_factory.mktemp("model")) as server, Client(server.address) as made:
        yield made


def pointer(key: str) -> str:
    return f"/{key}"


class Lives(RuleBasedStateMachine):
    """One session, and its model beside it."""

    client: Client
    model: Model
    session: Session

    @initialize(max_messages=st.integers(1, 6), rejects=st.booleans())
    def create(self, *, max_messages: int, rejects: bool) -> None:
        overflow = Overflow.REJECT if rejects else Overflow.TRUNCATE_OLDEST
        config = SessionConfig(max_messages=max_messages, overflow=overflow)
        self.session = self.client.sessions.create(user_id="u", config=config)
        self.model = Model(max_messages, rejects)

    @rule(verb=st.sampled_from(sorted(VERBS)))
    def move(self, verb: str) -> None:
        self.both(
            lambda: getattr(self.client.sessions, verb)(self.session.id).state, lambda: self.model.move(verb)
        )

    @rule(added=st.lists(contents, min_size=1, max_size=4))
    def add(self, added: list[str]) -> None:
        batch: list[MessageDict] = [{"role": "user", "content": content} for content in added]
        self.both(
            lambda: self.client.sessions.add_messages(self.session.id, messages=batch),
            lambda: self.model.add(added),
        )

    @rule()
    def clear(self) -> None:
        self.both(lambda: self.client.sessions.clear_history(self.session.id), self.model.clear)

    @rule(context=st.dictionaries(keys, values, max_size=4))
    def set_context(self, context: dict[str, Any]) -> None:
        self.both(
            lambda: self.client.sessions.set_context(self.session.id, context=context),
            lambda: self.model.set_context(context),
        )

    @rule(key=keys, value=values)
    def set_key(self, key: str, value: Any) -> None:
        self.both(
            lambda: self.client.sessions.update_context(self.session.id, path=pointer(key), value=value),
            lambda: self.model.set_key(key, value),
        )

    @rule(key=keys, value=values, by=st.integers(-5, 5))
    def change_key(self, key: str, value: Any, by: int) -> None:
        operations: list[tuple[Any, Callable[[], None]]] = [
            (Increment(pointer(key), by), lambda: self.model.increment(key, by)),
            (Append(pointer(key), value), lambda: self.model.append(key, value)),
            (Remove(pointer(key)), lambda: self.model.remove_key(key)),
        ]
        for change, expected in operations:
            self.both(
                partial(self.client.sessions.update_context, self.session.id, changes=[change]), expected
            )

    @rule(limit=st.integers(1, 8), back=st.integers(0, 8))
    def page(self, limit: int, back: int) -> None:
        before = max(self.model.sequence - back, 1)
        page = self.client.sessions.get_history(self.session.id, limit=limit, before_sequence=before)
        assert [(message.sequence, message.content) for message in page] == self.model.page(limit, before)

    @invariant()
    def both_say_the_same(self) -> None:
        seen = self.client.sessions.get(self.session.id)
        expected = (self.model.state, self.model.sequence, len(self.model.messages))
        assert (seen.state, seen.last_sequence, seen.message_count) == expected
        assert self.client.sessions.get_context(self.session.id) == self.model.context
        history = self.client.sessions.get_history(self.session.id)
        assert [(message.sequence, message.content) for message in history] == self.model.messages

    def both(self, real: Callable[[], object], expected: Callable[[], object]) -> None:
        """Does the same to both: they succeed together, or are refused for the same reason."""
        try:
            expected()
            refusal = None
        except Refused as refused:
            refusal = str(refused)
        if refusal is None:
            real()
            return
        with pytest.raises(SessionsError) as caught:
            real()
        assert caught.value.reason == refusal


def test_a_session_lives_as_the_model_says(client: Client) -> None:
    run_state_machine_as_test(
        type("Lives", (Lives,), {"client": client}),
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
