"""Reading a past state replays a bounded part of the log, however long the log is."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from sessions_server.domain.commit import Commit
from sessions_server.domain.context import Change, Increment
from sessions_server.domain.errors import EventsCompacted
from sessions_server.domain.models import MessageBody, MessageDraft, Sequence
from sessions_server.domain.operations import Append, ChangeContext, Operation
from sessions_server.storage.bases import EVENTS, largest_context
from tests.conformance.harness import KEY, Harness, create, set_context
from tests.support import commits as c

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells

DAY = 24 * 3600
BATCH = 200
"""How many events a commit adds."""
BATCHES = 12


async def grow(bench: Harness, data: dict[str, Any]) -> None:
    """Writes a log of BATCHES commits, in which the context's `n` counts the changes."""
    await bench.do(set_context(data))
    increment = ChangeContext((Change("n", ("n",), Increment(1)),))
    ids = map(str, itertools.count())
    for _ in range(BATCHES):
        operations: list[Operation] = []
        for _ in range(BATCH // 2):
            operations += [increment, Append(MessageDraft(next(ids), MessageBody("user", "x")))]
        await bench.commit(Commit(key=KEY, operations=tuple(operations)))


async def bases(bench: Harness) -> list[int]:
    """The positions of the bases."""
    ask = sa.text("SELECT sequence FROM bases ORDER BY sequence")
    return await bench.store._runner.write(lambda connection: list(connection.execute(ask).scalars()))


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_every_position_is_near_a_base(bench: Harness, cells: Cells, encrypted: bool) -> None:
    await bench.do(create(data_key=cells.new_key(*KEY) if encrypted else None))
    await grow(bench, {"n": 0})
    head = (await bench.store.session(KEY)).last_sequence
    at = [0, *await bases(bench), head]
    assert max(last - first for first, last in itertools.pairwise(at)) <= EVENTS + BATCH
    for base in at[1:]:
        for position in (base - 1, base, min(base + 1, head)):
            session = await bench.store.session(KEY, Sequence(position))
            assert session.message_count == (position - 2) // 2
            assert (await bench.store.context(KEY, Sequence(position))).data == {"n": (position - 1) // 2}


async def test_a_large_context_is_rarely_copied(bench: Harness) -> None:
    await bench.do(create())
    await grow(bench, {"n": 0, "large": "x" * 100_000})
    [base] = await bases(bench)
    assert 2 * EVENTS <= base < 2 * EVENTS + BATCH
    assert (await bench.store.context(KEY, Sequence(base + 1))).data["n"] == base // 2


@pytest.mark.parametrize(
    ("before", "after", "most"),
    [
        (0, 1, 0),
        (1_000, 1_023, 0),
        (1_023, 1_024, 65_536),
        (1_024, 1_025, 0),
        (1_025, 2_047, 0),
        (2_000, 2_100, 131_072),
        (3_000, 3_100, 65_536),
        (1_500, 5_000, 262_144),
        (16_383, 16_384, 1_048_576),
    ],
)
def test_rounder_positions_have_room_for_larger_contexts(before: int, after: int, most: int) -> None:
    assert largest_context(Sequence(before), Sequence(after)) == most


async def test_no_base_has_forgotten_values(bench: Harness) -> None:
    await bench.do(create())
    await grow(bench, {"n": 0, "secret": "canary"})
    head = (await bench.store.session(KEY)).last_sequence
    assert len(await bases(bench)) > 1
    await bench.do(c.set_context(key=KEY, data={"n": 1}, forget_past=True))
    assert await bases(bench) == [head + 1]
    with pytest.raises(EventsCompacted):
        await bench.store.context(KEY, head)


async def test_compaction_drops_older_bases(bench: Harness) -> None:
    await bench.do(create())
    await grow(bench, {"n": 0})
    bench.clock.turn(seconds=8 * DAY)
    await bench.do(set_context({"n": -1}))
    while await bench.store.compact(10):
        pass
    session = await bench.store.session(KEY)
    assert session.log_start > BATCHES * BATCH
    assert await bases(bench) == [session.log_start - 1]
    past = await bench.store.context(KEY, session.log_start)
    assert past.data == {"n": BATCHES * BATCH // 2}
    assert (await bench.store.context(KEY, session.last_sequence)).data == {"n": -1}


async def test_a_read_of_the_past_holds_little_of_a_large_log_in_memory(bench: Harness) -> None:
    size, count = 500_000, 40
    await bench.do(create())
    for number in range(count):
        await bench.do(set_context({"n": number, "text": "x" * size}))
    tracemalloc.start()
    try:
        found = await bench.store.context(KEY, Sequence(count))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.data["n"] == count - 2
    assert peak < 0.75 * count * size
