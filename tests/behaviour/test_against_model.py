"""Random operations on sessions, through the client, compared with a model."""

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
    RecordName,
    Remove,
    Scope,
    Session,
    SessionConfig,
    SessionsError,
    Set,
    ops,
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
    """One session and its model."""

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

    @rule(part=st.sampled_from(["newest", "oldest"]), count=st.integers(0, 4))
    def truncate(self, part: str, count: int) -> None:
        self.both(lambda: self._truncated(part, count), lambda: self.model.truncate(part, count))

    @rule(part=st.sampled_from(["after_sequence", "through_sequence"]), back=st.integers(0, 8))
    def truncate_at(self, part: str, back: int) -> None:
        sequence = max(self.model.sequence - back, 0)
        self.both(lambda: self._truncated(part, sequence), lambda: self.model.truncate(part, sequence))

    @rule(key=keys, value=st.binary(max_size=8))
    def put(self, key: str, value: bytes) -> None:
        if "\0" in key:
            return
        self.both(lambda: self.client.records.put(self._name(key), value), lambda: self.model.put(key, value))

    @rule(key=keys)
    def delete(self, key: str) -> None:
        if "\0" in key:
            return
        self.both(lambda: self.client.records.delete(self._name(key)), lambda: self.model.delete(key))

    @rule(
        added=st.lists(contents, max_size=3),
        cut=st.none() | st.integers(0, 3),
        key=keys,
        value=values,
        by=st.none() | st.integers(-5, 5),
        stale=st.booleans(),
    )
    def commit(
        self, *, added: list[str], cut: int | None, key: str, value: Any, by: int | None, stale: bool
    ) -> None:
        """Several operations, the last of which may be refused, with a head that may be stale."""
        operations = [ops.append(role="user", content=content) for content in added]
        steps: list[Callable[[Model], object]] = [lambda model: model.add(added)] if added else []
        if cut is not None:
            operations.append(ops.truncate(newest=cut))
            steps.append(lambda model: model.truncate("newest", cut))
        if by is None:
            operations.append(ops.change_context(Set(pointer(key), value)))
            steps.append(lambda model: model.set_key(key, value))
        else:
            operations.append(ops.change_context(Increment(pointer(key), by)))
            steps.append(lambda model: model.increment(key, by))
        head = self.model.head + stale
        self.both(
            lambda: self.client.sessions.commit(
                self.session.id, *operations, conditions=[ops.if_history_head(head)]
            ),
            lambda: self.model.commit(head, steps),
        )

    @rule(back=st.integers(0, 12))
    def look_back(self, back: int) -> None:
        at = max(self.model.sequence - back, min(self.model.past))
        state, context, _ = self.model.past[at]
        sessions, name = self.client.sessions, self.session.id
        assert sessions.get(name, at_sequence=at).state == state
        assert sessions.get_context(name, at_sequence=at) == context
        history = sessions.get_history(name, at_sequence=at)
        assert [message.sequence for message in history] == self.model.history_at(at)

    @rule(back=st.integers(0, 4))
    def fork(self, back: int) -> None:
        """Forks the session and continues with the fork."""
        at = max(self.model.sequence - back, min(self.model.past))
        self.session = self.client.sessions.fork(self.session.id, at_sequence=at)
        self.model = self.model.fork(at)

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
        records = self.client.records.list(Scope(session_id=self.session.id), "records")
        assert {record.name.key: record.value for record in records} == self.model.records

    def _name(self, key: str) -> RecordName:
        return RecordName(Scope(session_id=self.session.id), "records", key)

    def _truncated(self, part: str, amount: int) -> None:
        cut: dict[str, Any] = {part: amount}
        self.client.sessions.truncate_history(self.session.id, **cut)

    def both(self, real: Callable[[], object], expected: Callable[[], object]) -> None:
        """Does the same to both: they either succeed, or are refused for the same reason."""
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


def test_behaves_like_the_model(client: Client) -> None:
    run_state_machine_as_test(
        type("Lives", (Lives,), {"client": client}),
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
