"""Past states of a session: at every position of random logs, replaying the log gives what was stored then."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.commit import Commit, NewSession
from sessions_server.domain.context import (
    Append as AppendItem,
    Change,
    Increment,
    Merge,
    Operation as ContextOperation,
    Remove,
    Set,
)
from sessions_server.domain.errors import CursorAhead, DomainError, EventsCompacted
from sessions_server.domain.models import (
    SECOND,
    Context,
    ContextChange,
    ExpiryAction,
    Message,
    MessageBody,
    MessageDraft,
    Micros,
    Overflow,
    Sequence,
    Session,
    SessionConfig,
    StorageOptions,
)
from sessions_server.domain.operations import (
    Append,
    ChangeContext,
    ClearHistory,
    EraseMessage,
    ImportMessages,
    ImportSession,
    MergeMetadata,
    Move,
    Operation,
    Part,
    SetContext,
    Truncate,
    Update,
    Verb,
)
from sessions_server.domain.ports import HistoryQuery
from sessions_server.domain.records import PutRecord, RecordName, Scope
from tests.conformance.harness import KEY, Harness, add, create, key, move, set_context, stamp
from tests.support import commits as c
from tests.support.amounts import amount

if TYPE_CHECKING:
    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.ports import Cells

LOGS = amount("LOGS", 25)
COMMITS = 25
DAY = 24 * 3600


class Life:
    """A random sequence of operations on one session."""

    def __init__(self, seed: int, session: SessionKey) -> None:
        self.rng = random.Random(seed)
        self.key = session
        self.ids = 0

    def first(self, data_key: bytes | None) -> Commit:
        rng = self.rng
        overflow = rng.choice([Overflow.TRUNCATE_OLDEST, Overflow.TRUNCATE_TURNS])
        config = SessionConfig(Micros(3600 * SECOND), rng.choice([0, 3, 6]), 0, overflow)
        storage = StorageOptions(encryption=data_key is not None)
        new = NewSession(user_id="u", metadata={"n": 0}, config=config, storage=storage, data_key=data_key)
        return Commit(key=self.key, create=new)

    def next(self) -> Commit:
        count = self.rng.choice([1, 1, 1, 2, 4])
        return Commit(key=self.key, operations=tuple(self.operation() for _ in range(count)))

    def operation(self) -> Operation:
        rng = self.rng
        number = rng.randrange(100)
        makers = (
            (self.message, 6),
            (self.context, 4),
            (lambda: SetContext({"n": number, "list": [], "deep": {"a": number}}), 1),
            (lambda: MergeMetadata({rng.choice("ab"): number}), 1),
            (self.update, 1),
            (lambda: Move(rng.choice([Verb.START, Verb.PAUSE, Verb.RESUME])), 1),
            (lambda: Truncate(rng.choice(list(Part)), rng.randrange(6)), 2),
            (lambda: EraseMessage(f"m{rng.randrange(self.ids + 1)}"), 1),
            (ClearHistory, 1),
            (lambda: PutRecord(self.record(), b"v", {}, f"e{number}"), 1),
        )
        [make] = rng.choices([make for make, _ in makers], [weight for _, weight in makers])
        return make()

    def message(self) -> Operation:
        self.ids += 1
        role = self.rng.choice(["user", "assistant", "tool"])
        return Append(MessageDraft(f"m{self.ids}", MessageBody(role, str(self.ids)), chosen=True))

    def context(self) -> Operation:
        rng = self.rng
        number = rng.randrange(100)
        made: dict[str, ContextOperation] = {
            "n": Increment(number),
            "list": AppendItem(number),
            "deep.a": Set({"x": number}),
            "deep": Merge({"b": number, "c": None}),
            "gone": Remove(),
        }
        paths = rng.sample(sorted(made), rng.randrange(1, 4))
        return ChangeContext(tuple(Change(path, tuple(path.split(".")), made[path]) for path in paths))

    def update(self) -> Operation:
        paths = tuple(
            self.rng.sample(["metadata.a", "metadata", "config.max_messages", "config.overflow"], 2)
        )
        config = SessionConfig(max_messages=self.rng.choice([0, 2, 5]))
        return Update(paths, {"a": self.rng.randrange(9)}, config, StorageOptions())

    def record(self) -> RecordName:
        return RecordName(Scope(self.key.tenant, self.key.session_id), ("c",), self.rng.choice("xyz"))


def seen(session: Session) -> Session:
    """The part of a session's state that does not depend on the store."""
    return session._replace(data_key=None, history_start=Sequence(0), log_start=Sequence(0))


async def live(bench: Harness, life: Life, data_key: bytes | None) -> dict[Sequence, tuple[Session, Context]]:
    """Runs the operations, and records what was stored after each commit."""
    kept: dict[Sequence, tuple[Session, Context]] = {}
    for number in range(COMMITS):
        bench.clock.turn(seconds=life.rng.choice([0, 1, 3000]))
        try:
            await bench.commit(life.first(data_key) if not number else life.next())
        except DomainError:
            continue
        if number == COMMITS // 2 and life.rng.random() < 0.5:
            await import_over(bench, life)
        session = await bench.store.session(life.key)
        if session.last_sequence not in kept:
            kept[session.last_sequence] = (session, await bench.store.context(life.key))
    return kept


async def import_over(bench: Harness, life: Life) -> None:
    exported = await bench.store.session(life.key)
    messages = tuple(
        Message(f"i{number}", Sequence(number), Micros(5), MessageBody("user", "i")) for number in (1, 2)
    )
    parts = (ImportSession(exported, {"n": 1, "list": []}, len(messages)), ImportMessages(messages))
    try:
        await bench.commit(*(Commit(key=life.key, operations=(part,)) for part in parts))
    except DomainError:
        return


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_replaying_random_logs_gives_what_was_stored_at_every_position(
    bench: Harness, cells: Cells, encrypted: bool
) -> None:
    for seed in range(LOGS):
        life = Life(seed, key(f"s{seed}"))
        kept = await live(bench, life, cells.new_key(*life.key) if encrypted else None)
        head = max(kept)
        for at in map(Sequence, range(1, head + 1)):
            session = await bench.store.session(life.key, at)
            context = await bench.store.context(life.key, at)
            assert session.last_sequence == at
            if at in kept:
                assert (seed, seen(session)) == (seed, seen(kept[at][0]))
                assert (context.data, context.revision) == (kept[at][1].data, kept[at][1].revision)
        for at in map(Sequence, random.Random(seed).sample(range(1, head + 1), min(3, head))):
            page = await bench.store.history(life.key, HistoryQuery(1_000, at=at))
            assert all(message.sequence <= at for message in page.messages)


async def test_a_compacted_log_continues_from_its_base(bench: Harness) -> None:
    await bench.do(create(metadata={"m": 1}))
    for number in range(6):
        await bench.do(set_context({"n": number}))
        bench.clock.turn(seconds=2 * DAY)
    kept = {at: await bench.store.context(KEY, Sequence(at)) for at in range(1, 8)}
    while await bench.store.compact(10):
        pass
    start = (await bench.store.session(KEY)).log_start
    assert start > 3
    for at in range(start - 1, 8):
        assert await bench.store.context(KEY, Sequence(at)) == kept[at]
        assert (await bench.store.session(KEY, Sequence(at))).metadata == {"m": 1}
    for read in (bench.store.context, bench.store.session):
        with pytest.raises(EventsCompacted) as caught:
            await read(KEY, Sequence(start - 2))
        assert caught.value.metadata == {"oldest_sequence": str(start - 1)}
        with pytest.raises(CursorAhead):
            await read(KEY, Sequence(8))
    for query in (HistoryQuery(at=Sequence(start - 2)), HistoryQuery(at=Sequence(8))):
        with pytest.raises((EventsCompacted, CursorAhead)):
            await bench.store.history(KEY, query)
    bench.clock.turn(seconds=30 * DAY)
    while await bench.store.compact(10):
        pass
    assert (await bench.store.context(KEY, Sequence(7))).data == {"n": 5}
    await bench.do(set_context({"n": 9}))
    assert (await bench.store.context(KEY, Sequence(7))).data == {"n": 5}
    assert (await bench.store.context(KEY, Sequence(8))).data == {"n": 9}


async def test_a_kept_message_does_not_prevent_compaction_of_other_events(bench: Harness) -> None:
    await bench.apply(create(), add("kept"))
    late = Message("late", Sequence(9), Micros(253_000_000_000 * SECOND), MessageBody("user", "late"))
    exported = await bench.store.session(KEY)
    await bench.apply(
        c.import_session(key=KEY, exported=exported, context={}, message_count=1),
        c.import_messages(key=KEY, messages=(late,)),
    )
    for number in range(1_500):
        await bench.apply(set_context({"n": number}))
    bench.clock.turn(seconds=8 * DAY)
    while await bench.store.compact(10):
        pass
    page = await bench.store.log(KEY, Sequence(0), 10)
    assert (page.events, page.log_start) == ((), page.head + 1)
    [message] = (await bench.store.history(KEY, HistoryQuery())).messages
    assert (message.body.content, message.create_time) == ("late", late.create_time)
    assert (await bench.store.context(KEY, page.head)).data == {"n": 1_499}


async def test_forgotten_past_states_are_gone_at_once(bench: Harness) -> None:
    await bench.apply(create(), set_context({"secret": "canary"}), set_context({"n": 1}), add("a"))
    await bench.do(c.set_context(key=KEY, data={"n": 2}, forget_past=True))
    for at in range(1, 5):
        with pytest.raises(EventsCompacted):
            await bench.store.context(KEY, Sequence(at))
    assert (await bench.store.context(KEY, Sequence(5))).data == {"n": 2}
    page = await bench.store.log(KEY, Sequence(0), 10, changes=True)
    changes = [event.data.changes for event in page.events if isinstance(event.data, ContextChange)]
    assert changes == [None, None, None]
    assert bench.published[0].erased_through == 5


def increment(number: int) -> Commit:
    change = Change("counter", ("counter",), Increment(1))
    return c.update_context(key=KEY, changes=(change,), request=stamp(f"r{number}"))


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_a_repeated_change_returns_the_first_response_without_forgotten_values(
    bench: Harness, cells: Cells, encrypted: bool
) -> None:
    await bench.apply(create(data_key=cells.new_key(*KEY) if encrypted else None), set_context({"big": "x"}))
    first = await bench.do(increment(0))
    await bench.apply(increment(1), increment(2))
    assert await bench.do(increment(0)) == first
    await bench.do(c.set_context(key=KEY, data={"n": 0}, forget_past=True))
    answer = await bench.do(increment(1))
    assert isinstance(answer, Context)
    assert answer.data == {"n": 0}, "the current state is returned instead of the erased one"


async def test_a_repeated_move_returns_the_metadata_of_its_time(bench: Harness) -> None:
    await bench.do(create(metadata={"m": 1}))
    started = await bench.do(move(Verb.START, request="r"))
    await bench.do(Commit(key=KEY, operations=(MergeMetadata({"m": 2}),)))
    assert await bench.do(move(Verb.START, request="r")) == started


async def test_the_past_of_an_erased_temporary_session_is_gone_too(bench: Harness) -> None:
    storage = StorageOptions(ttl=SECOND, expiry_action=ExpiryAction.DELETE)
    await bench.apply(create(storage=storage), set_context({"a": 1}))
    bench.clock.turn(seconds=1)
    for read in (bench.store.session, bench.store.context):
        with pytest.raises(DomainError, match="no such session"):
            await read(KEY, Sequence(1))
