"""Large sessions are hidden at once and erased in steps: their ids are free again when all their rows are erased."""

from __future__ import annotations

import pytest

from sessions_server.domain.errors import SessionNotFound, StillErasing
from sessions_server.domain.fork import Fork
from sessions_server.domain.models import SECOND, ExpiryAction, Micros, StorageOptions
from sessions_server.domain.record_reads import CollectionQuery
from sessions_server.storage.erasure import FEW
from tests.conformance.harness import KEY, OTHER, Harness, create, set_context, stamp
from tests.conformance.record_harness import IN_SESSION, listed, name, put, query, write
from tests.conformance.test_hidden import STEP, erase_all, stored
from tests.support import commits as c


async def test_an_id_with_many_answers_is_free_when_they_are_erased(bench: Harness) -> None:
    await bench.do(create())
    some = [set_context({"n": number}, request=f"r{number}") for number in range(FEW + 1)]
    await bench.apply(*some)
    await bench.do(c.delete(key=KEY, request=stamp("gone")))
    with pytest.raises(SessionNotFound):
        await bench.do(some[0])
    with pytest.raises(StillErasing, match="is still being erased; try again with the same request_id"):
        await bench.do(create())
    steps = await erase_all(bench)
    assert max(steps) <= STEP
    await bench.do(create())
    with pytest.raises(SessionNotFound):
        await bench.do(some[-1])
    assert await bench.do(c.delete(key=KEY, request=stamp("gone"))) is None
    assert (await bench.store.session(KEY)).message_count == 0, "no second effect"
    left = "SELECT count(*) FROM requests WHERE length(answer) > 0"
    assert await stored(bench, left) == 1, "only the request that erased the session has a stored answer"


async def test_the_records_of_a_deleted_session_are_gone_before_they_are_erased(bench: Harness) -> None:
    await bench.do(create())
    some = [put(name(f"k{number}", scope=IN_SESSION), labels={"n": number}) for number in range(FEW + 1)]
    await write(bench.store, *some)
    await bench.do(c.delete(key=KEY))
    assert await stored(bench, "SELECT count(*) FROM records") == FEW + 1
    for _ in range(2):
        assert await bench.store.record(some[0].name) is None
        for wanted in (
            query(scope=IN_SESSION),
            query(all_sessions=True),
            query(scope=IN_SESSION, filter={"n": 3}),
        ):
            assert await listed(bench.store, wanted) == []
        found = await bench.store.collections(CollectionQuery(IN_SESSION, False, (), 0, 10))
        assert found.paths == ()
        if not _:
            with pytest.raises(StillErasing):
                await bench.do(create())
        await erase_all(bench)
    await bench.do(create())
    assert await listed(bench.store, query(scope=IN_SESSION)) == []
    assert await stored(bench, "SELECT count(*) FROM record_terms") == 0


@pytest.mark.parametrize("how", ["deleted", "lapsed", "forked"])
@pytest.mark.parametrize("what", ["records", "answers"])
async def test_a_batch_that_erases_a_large_session_creates_none_with_its_id(
    bench: Harness, what: str, how: str
) -> None:
    await bench.do(create(storage=StorageOptions(ttl=Micros(SECOND), expiry_action=ExpiryAction.DELETE)))
    if what == "records":
        some = [put(name(f"k{number}", scope=IN_SESSION), labels={"n": number}) for number in range(FEW + 1)]
        await write(bench.store, *some)
    else:
        await bench.apply(*(set_context({"n": number}, request=f"r{number}") for number in range(FEW + 1)))
    if how == "deleted":
        gone, refused = await bench.apply(c.delete(key=KEY), create())
        assert gone is None
        assert isinstance(refused, StillErasing)
    else:
        bench.clock.turn(seconds=1)
        await bench.do(create(OTHER))
        fork = Fork(source=OTHER, key=KEY, at=None, log_id="f")
        with pytest.raises(StillErasing):
            await (bench.store.fork(fork) if how == "forked" else bench.do(create()))
        await bench.apply(c.expire(key=KEY))
    with pytest.raises(SessionNotFound):
        await bench.store.session(KEY)
    steps = await erase_all(bench)
    assert max(steps) <= STEP
    await bench.do(create())
    assert await listed(bench.store, query(scope=IN_SESSION)) == []
