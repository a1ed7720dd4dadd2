"""Large erasures hide rows at once and erase them in steps: no caller can tell the difference, and steps are small."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from sessions_server.domain.commit import Commit
from sessions_server.domain.errors import EventsCompacted, SessionNotFound
from sessions_server.domain.fork import Fork
from sessions_server.domain.models import (
    ContextChange,
    Message,
    Overflow,
    Sequence,
    SessionConfig,
    SessionKey,
)
from sessions_server.domain.operations import ClearHistory, EraseMessage, Part, Truncate
from sessions_server.domain.ports import HistoryQuery
from sessions_server.domain.reads import ReadMessage
from sessions_server.storage.erasure import FEW
from tests.conformance.harness import (
    KEY,
    OTHER,
    Harness,
    add,
    add_chosen,
    create,
    key,
    set_context,
)
from tests.support import commits as c

if TYPE_CHECKING:
    from sessions_server.domain.operations import Operation
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

MANY = 2 * FEW + 40
STEP = 100


def texts(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


async def filled(bench: Harness, count: int = MANY) -> None:
    """The message with text n has position n + 1."""
    await bench.apply(create(), add(*texts(1, count)))


async def do(bench: Harness, *operations: Operation) -> None:
    await bench.commit(Commit(key=KEY, operations=operations))


async def erase_all(bench: Harness) -> list[int]:
    """How many rows each step examined."""
    steps = []
    while count := await bench.store.erase(STEP):
        steps.append(count)
    return steps


async def message_of(bench: Harness, text: str) -> Message | None:
    (found,) = await bench.store.read([ReadMessage(KEY, f"id of {text}")])
    assert found is None or isinstance(found, Message)
    return found


async def shown(bench: Harness, session: SessionKey = KEY) -> list[str]:
    """The texts of the messages that the log shows."""
    found: list[str] = []
    head = (await bench.store.session(session)).last_sequence
    after = Sequence(0)
    while after < head:
        page = await bench.store.log(session, after, 1_000)
        found += [each.data.body.content for each in page.events if isinstance(each.data, Message)]
        after = page.events[-1].sequence
    return found


async def stored(bench: Harness, sentence: str) -> int:
    found = await bench.store._runner.read(
        lambda connection: connection.execute(sa.text(sentence)).scalar_one(), snapshot=False
    )
    return int(found)


async def rows_with_content(bench: Harness) -> int:
    return await stored(bench, "SELECT count(*) FROM log WHERE message_id IS NOT NULL")


async def test_cleared_messages_cannot_be_read_before_they_are_erased(bench: Harness) -> None:
    await filled(bench)
    await do(bench, ClearHistory())
    head = Sequence((await bench.store.session(KEY)).last_sequence)
    assert await rows_with_content(bench) == MANY, "it is hidden, and not erased yet"
    for _ in range(2):
        assert await bench.contents() == []
        assert await bench.contents(KEY, HistoryQuery(1_000, at=Sequence(MANY))) == []
        assert await shown(bench) == []
        assert await message_of(bench, "7") is None
        committed, _ = await bench.store.fork(Fork(source=KEY, key=key(f"at head {_}"), at=None, log_id="a"))
        assert committed.session_after().message_count == 0
        committed, _ = await bench.store.fork(
            Fork(source=KEY, key=key(f"before {_}"), at=Sequence(MANY), log_id="b")
        )
        assert committed.session_after().message_count == 0
        steps = await erase_all(bench)
    assert steps == []
    assert await rows_with_content(bench) == 0
    assert (await bench.store.session(KEY)).last_sequence == head


async def test_a_step_examines_a_bounded_number_of_rows(bench: Harness) -> None:
    await filled(bench)
    await do(bench, ClearHistory())
    steps = await erase_all(bench)
    assert sum(steps) >= MANY
    assert max(steps) <= STEP
    assert await stored(bench, "SELECT count(*) FROM erasures") == 0
    assert await stored(bench, "SELECT count(*) FROM sessions WHERE hidden IS NOT NULL") == 0


async def test_a_hidden_message_id_is_free_again(bench: Harness) -> None:
    await filled(bench)
    await do(bench, ClearHistory())
    await bench.do(add_chosen("id of 7", "another"))
    assert await bench.contents() == ["another"]
    await bench.do(add_chosen("id of 7", "another"))  # the same message now
    await erase_all(bench)
    assert await bench.contents() == ["another"]
    found = await message_of(bench, "7")
    assert found is not None
    assert found.body.content == "another"


async def test_a_history_may_have_hidden_rows_until_they_are_erased(bench: Harness) -> None:
    await filled(bench)
    await do(bench, Truncate(Part.NEWEST, FEW + 20))
    await bench.do(add(*(f"new {number}" for number in range(FEW + 60))))
    await do(bench, Truncate(Part.NEWEST, FEW + 10))
    await bench.do(add("last"))
    kept = MANY - FEW - 20
    expected = [*texts(1, kept), *(f"new {number}" for number in range(50)), "last"]
    assert await rows_with_content(bench) == MANY + FEW + 61
    for _ in range(2):
        assert await bench.contents() == expected
        assert await bench.contents(KEY, HistoryQuery(52)) == expected[-52:]
        assert (
            await bench.contents(KEY, HistoryQuery(9, after=Sequence(kept - 3)))
            == expected[kept - 4 : kept + 5]
        )
        assert await shown(bench) == expected
        assert (await bench.store.session(KEY)).message_count == len(expected)
        fork = Fork(source=KEY, key=key(f"fork {_}"), at=None, log_id="f")
        committed, _changes = await bench.store.fork(fork)
        assert committed.session_after().message_count == len(expected)
        assert await bench.contents(fork.key) == expected
        past = Fork(source=KEY, key=key(f"past {_}"), at=Sequence(MANY + 30), log_id="f")
        await bench.store.fork(past)
        assert await bench.contents(past.key) == expected[: kept + 28]
        await erase_all(bench)
    assert await rows_with_content(bench) == 5 * len(expected) + 0 - (len(expected) - (kept + 28)) * 2


async def test_truncations_do_not_count_hidden_messages(bench: Harness) -> None:
    await filled(bench)
    await do(bench, Truncate(Part.NEWEST, FEW + 20))
    await bench.do(add("a", "b"))
    kept = MANY - FEW - 20
    await do(bench, Truncate(Part.AFTER, kept - 1))  # positions are one above the texts
    assert (await bench.contents()) == texts(1, kept - 2)
    await do(bench, Truncate(Part.THROUGH, 11))
    assert (await bench.contents()) == texts(11, kept - 2)
    await do(bench, EraseMessage("id of 20"), Truncate(Part.OLDEST, 10))
    assert (await bench.contents()) == texts(22, kept - 2)
    assert (await bench.store.session(KEY)).message_count == kept - 23
    await erase_all(bench)
    assert (await bench.contents()) == texts(22, kept - 2)
    assert await rows_with_content(bench) == kept - 23


async def test_an_add_after_lowering_the_limit_hides_the_excess(bench: Harness) -> None:
    await filled(bench)
    settings = SessionConfig(max_messages=10, overflow=Overflow.TRUNCATE_OLDEST)
    session = await bench.store.session(KEY)
    update = c.update(key=KEY, paths=("config",), metadata={}, config=settings, storage=session.storage)
    await bench.do(update)
    await bench.do(add("a", "b"))
    expected = [*texts(MANY - 7, MANY), "a", "b"]
    assert await bench.contents() == expected
    await bench.do(add("c"))
    assert await bench.contents() == [*expected[1:], "c"]
    await erase_all(bench)
    assert await bench.contents() == [*expected[1:], "c"]
    assert await rows_with_content(bench) == 10


async def test_a_replaced_history_may_contain_the_same_messages(bench: Harness) -> None:
    await filled(bench)
    exported = await bench.store.session(KEY)
    page = await bench.store.history(KEY, HistoryQuery(1_000))
    some = page.messages[5:]
    await bench.apply(
        c.import_session(key=KEY, exported=exported, context={}, message_count=len(some)),
        c.import_messages(key=KEY, messages=some),
    )
    for _ in range(2):
        assert await bench.contents() == texts(6, MANY)
        assert await shown(bench) == texts(6, MANY)
        assert await message_of(bench, "3") is None
        assert (await message_of(bench, "9")) is not None
        await erase_all(bench)
    assert await rows_with_content(bench) == len(some)


async def test_a_deleted_session_is_gone_before_it_is_erased(bench: Harness) -> None:
    await filled(bench)
    await bench.do(c.delete(key=KEY))
    assert await stored(bench, "SELECT count(*) FROM log") == MANY + 1
    for _ in range(2):
        with pytest.raises(SessionNotFound):
            await bench.store.session(KEY)
        with pytest.raises(SessionNotFound):
            await bench.contents()
        assert await message_of(bench, "7") is None
        page = await bench.store.log(KEY, Sequence(0), 10)
        assert (page.events, page.head) == ((), MANY + 2)
        await erase_all(bench)
    assert await stored(bench, "SELECT count(*) FROM log") == 0


async def test_a_recreated_session_has_nothing_of_the_one_being_erased(bench: Harness) -> None:
    await filled(bench)
    await bench.apply(set_context({"old": 1}))
    await bench.do(c.delete(key=KEY))
    await bench.apply(create(), add("a"), add_chosen("id of 7", "b"), set_context({"n": 1}))
    first = MANY + 4
    for _ in range(2):
        assert await bench.contents() == ["a", "b"]
        assert await shown(bench) == ["a", "b"]
        assert (await bench.store.log(KEY, Sequence(0), 10)).log_start == first
        assert (await bench.store.context(KEY)).data == {"n": 1}
        assert (await bench.store.context(KEY, Sequence(first + 1))).data == {}
        with pytest.raises(EventsCompacted):
            await bench.store.session(KEY, Sequence(7))
        assert await message_of(bench, "8") is None
        await erase_all(bench)
    assert await stored(bench, "SELECT count(*) FROM log") == 4
    assert await stored(bench, "SELECT count(*) FROM sessions WHERE hidden IS NOT NULL") == 0


async def test_a_session_deleted_twice_is_erased_as_a_whole(bench: Harness) -> None:
    await filled(bench)
    await bench.apply(c.delete(key=KEY), create(), add("a"), c.delete(key=KEY), create(), add("b"))
    await bench.apply(c.delete(key=KEY))
    await bench.apply(create(), add("c"))
    await bench.store.erase(STEP)
    assert await bench.contents() == ["c"]
    await erase_all(bench)
    assert await bench.contents() == ["c"]
    assert await stored(bench, "SELECT count(*) FROM log") == 2


async def test_a_fork_into_an_id_that_is_being_erased(bench: Harness) -> None:
    await bench.apply(create(OTHER), add(*texts(1, MANY), key=OTHER))
    for _ in range(2):
        await bench.store.fork(Fork(source=OTHER, key=KEY, at=None, log_id="f"))
        assert await bench.contents() == texts(1, MANY)
        await bench.do(c.delete(key=KEY))
    await bench.store.fork(Fork(source=OTHER, key=KEY, at=None, log_id="f"))
    await erase_all(bench)
    assert await bench.contents() == texts(1, MANY)
    assert await stored(bench, "SELECT count(*) FROM log") == 2 * MANY + 2


async def test_forgotten_values_are_hidden_before_they_are_erased(bench: Harness) -> None:
    await bench.do(create())
    await bench.apply(*(set_context({"n": number}) for number in range(MANY)))
    await bench.do(c.set_context(key=KEY, data={"n": -1}, forget_past=True))
    await bench.do(set_context({"n": -2}))
    kept = "SELECT count(*) FROM log WHERE type = 'context_change' AND change IS NOT NULL"
    assert await stored(bench, kept) == MANY + 1
    for _ in range(2):
        page = await bench.store.log(KEY, Sequence(0), 1_000, changes=True)
        changes = [event.data.changes for event in page.events if isinstance(event.data, ContextChange)]
        assert [each is not None for each in changes] == [*[False] * (MANY + 1), True]
        with pytest.raises(EventsCompacted):
            await bench.store.context(KEY, Sequence(MANY))
        assert (await bench.store.context(KEY, Sequence(MANY + 2))).data == {"n": -1}
        steps = await erase_all(bench)
        assert not steps or max(steps) <= STEP
    assert await stored(bench, kept) == 1


async def test_pending_erasures_resume_after_a_restart(
    lasting_url: str, opener: Opener, clock: HandClock
) -> None:
    store = opener(lasting_url)
    await store.start()
    bench = Harness(store, clock)
    await filled(bench)
    await do(bench, ClearHistory())
    await store.erase(STEP)
    await store.close()
    bench.store = store = opener(lasting_url)
    await store.start()
    assert await rows_with_content(bench) == MANY - STEP + 1, "the first row was that of the creation"
    await erase_all(bench)
    assert await rows_with_content(bench) == 0
    await store.close()


async def test_several_servers_share_the_work(bench: Harness) -> None:
    sessions = [key(f"s{number}") for number in range(6)]
    for each in sessions:
        await bench.apply(create(each), add(*texts(1, MANY), key=each))
    await bench.apply(*(c.clear_history(key=each) for each in sessions))
    done = 0
    while found := sum(await asyncio.gather(*(bench.store.erase(STEP) for _ in range(4)))):
        done += found
    assert len(sessions) * MANY <= done <= len(sessions) * (MANY + STEP), "few rows are processed twice"
    assert await rows_with_content(bench) == 0
