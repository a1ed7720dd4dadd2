"""Large contexts are not read again for each change, yet the stored value is authoritative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import sqlalchemy as sa

from sessions_server.domain.context import Change, Increment, Set
from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.ports import Transaction
from sessions_server.storage.recent_contexts import SMALLEST_BYTES, RecentContexts
from tests.conformance.harness import KEY, OTHER, Harness, create, key, set_context
from tests.support import commits as c

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import JsonObject
    from sessions_server.domain.ports import Cells

LARGE: Final[JsonObject] = {f"key{number}": number for number in range(1_000)}


def increment() -> c.Commit:
    return c.update_context(key=KEY, changes=(Change("key5", ("key5",), Increment(1)),))


async def stored(bench: Harness) -> bytes:
    def read(connection: Connection) -> bytes:
        return bytes(connection.execute(sa.text("SELECT data FROM contexts")).scalar_one())

    return await bench.store._runner.read(read, snapshot=True)


async def test_changes_of_a_large_context_build_on_what_is_stored(bench: Harness) -> None:
    known = bench.store._rules.contexts
    await bench.do(create(KEY))
    await bench.do(set_context(LARGE))
    for number in range(3):
        await bench.do(increment())
        assert known.find(KEY, await stored(bench)) == LARGE | {"key5": 6 + number}
    with pytest.raises(RuntimeError, match="rolled back"):
        await bench.store.transact(fail_after(c.update_context(key=KEY, changes=(SET_TO_ZERO,))))
    await bench.do(increment())
    assert (await bench.store.context(KEY)).data == LARGE | {"key5": 9}

    def change(connection: Connection) -> None:
        statement = sa.text("UPDATE contexts SET data = :data")
        connection.execute(statement, {"data": dumps(LARGE | {"key5": 100})})

    await bench.store._runner.write(change)
    await bench.do(increment())
    assert loads(await stored(bench)) == LARGE | {"key5": 101}


SET_TO_ZERO: Final = Change("key5", ("key5",), Set(0))


def fail_after(commit: c.Commit) -> Callable[[Transaction], None]:
    def work(transaction: Transaction) -> None:
        workspace = transaction.load([commit])
        workspace.apply(commit)
        transaction.save(workspace)
        raise RuntimeError("rolled back")

    return work


async def test_an_encrypted_context_is_not_kept_in_clear(bench: Harness, cells: Cells) -> None:
    await bench.do(create(KEY, data_key=cells.new_key(*KEY)))
    await bench.do(set_context(LARGE))
    await bench.do(increment())
    assert not bench.store._rules.contexts._kept
    assert (await bench.store.context(KEY)).data == LARGE | {"key5": 6}


def test_the_cache_size_is_bounded() -> None:
    known = RecentContexts(most_bytes=3 * SMALLEST_BYTES)
    small, large = b"s" * (SMALLEST_BYTES - 1), b"l" * SMALLEST_BYTES
    known.keep(KEY, small, {"small": 1})
    assert known.find(KEY, small) is None
    for number in range(4):
        known.keep(key(f"s{number}"), large, {"n": number})
    assert [known.find(key(f"s{number}"), large) for number in range(4)] == [
        None, {"n": 1}, {"n": 2}, {"n": 3}
    ]  # fmt: skip
    known.keep(key("s3"), large, {"n": 5})
    assert known.find(key("s1"), large) == {"n": 1}
    assert known.find(key("s3"), large) == {"n": 5}
    assert known.find(OTHER, large) is None
    known.keep(key("s1"), small, {})
    known.keep(OTHER, large, {"other": 1})
    assert known.find(key("s2"), large) == {"n": 2}
    known.keep(KEY, b"h" * (4 * SMALLEST_BYTES), {"too": "large"})
    assert not known._kept
