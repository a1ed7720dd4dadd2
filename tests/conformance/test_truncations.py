"""Removals by several commits of one batch, together or one by one, leave the history that a list model predicts."""

from __future__ import annotations

from random import Random

import pytest

from sessions_server.domain.commit import Commit
from sessions_server.domain.models import MessageBody, MessageDraft, Overflow, SessionConfig
from sessions_server.domain.operations import (
    Append,
    ClearHistory,
    EraseMessage,
    Operation,
    Part,
    Removed,
    Truncate,
)
from sessions_server.domain.ports import HistoryQuery
from tests.conformance.harness import KEY, Harness, create

ROUNDS = 60
LONGEST = 40


class Expected:
    """A history as a list of message positions; the texts are their ids."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.messages: list[tuple[int, str]] = []
        self.head = 1

    def apply(self, operation: Operation) -> int | None:
        """How many messages are removed; None if the operation removes none."""
        before = self.messages
        match operation:
            case Append(draft):
                self.head += 1
                self.messages = [*before, (self.head, draft.id)][-self.most if self.most else 0 :]
                return None
            case ClearHistory():
                self.messages = []
            case EraseMessage(id_):
                self.messages = [each for each in before if each[1] != id_]
            case Truncate(Part.NEWEST, amount):
                self.messages = before[: max(len(before) - amount, 0)]
            case Truncate(Part.OLDEST, amount):
                self.messages = before[amount:]
            case Truncate(Part.AFTER, amount):
                self.messages = [each for each in before if each[0] <= amount]
            case Truncate(Part.THROUGH, amount):
                self.messages = [each for each in before if each[0] > amount]
        removed = len(before) - len(self.messages)
        self.head += bool(removed)
        return removed


def some_operation(random: Random, expected: Expected, number: int) -> list[Operation]:
    kind = random.randrange(8)
    amount = random.randrange(LONGEST)
    position = random.randrange(max(expected.head - LONGEST, 0), expected.head + 3)
    if kind < 3:
        count = random.choice((1, 2, 12))
        drafts = (MessageDraft(f"{number}-{each}", MessageBody("user", "a")) for each in range(count))
        return [Append(draft) for draft in drafts]
    known = [id_ for _, id_ in expected.messages] or ["none"]
    return [
        (
            EraseMessage(random.choice(known)),
            Truncate(Part.NEWEST, amount + 1),
            Truncate(Part.OLDEST, amount + 1),
            Truncate(Part.AFTER, position),
            Truncate(Part.THROUGH, position),
        )[kind - 3]
    ]


@pytest.mark.parametrize("most", [0, 15])
@pytest.mark.parametrize("seed", range(3))
async def test_the_history_equals_a_list_model(bench: Harness, most: int, seed: int) -> None:
    random, expected = Random(seed), Expected(most)
    await bench.do(create(config=SessionConfig(max_messages=most, overflow=Overflow.TRUNCATE_OLDEST)))
    for number in range(ROUNDS):
        commits, removed = [], []
        for part in range(random.choice((1, 1, 2, 3))):
            operations = some_operation(random, expected, 10 * number + part)
            removed.append([expected.apply(each) for each in operations])
            commits.append(Commit(key=KEY, operations=tuple(operations)))
        done = await bench.commit(*commits)
        counts = [each.count for each in done.results if isinstance(each, Removed)]
        assert counts == [each for each in removed[-1] if each is not None]
        page = await bench.store.history(KEY, HistoryQuery(1_000))
        assert [(each.sequence, each.id) for each in page.messages] == expected.messages
        session = await bench.store.session(KEY)
        assert (session.last_sequence, session.message_count) == (expected.head, len(expected.messages))
        assert session.history_head == (expected.messages[-1][0] if expected.messages else 0)
