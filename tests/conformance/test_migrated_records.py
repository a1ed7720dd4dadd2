"""Records from before their keys told which import stored them, some of them hidden by their positions in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from alembic import command

from sessions_server.domain.commit import Commit
from sessions_server.domain.models import SessionKey
from sessions_server.domain.records import DeleteRecord, PutRecord, RecordName, Scope
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.content import Content
from sessions_server.storage.databases import parse_url
from sessions_server.storage.record_names import name_hash
from tests.conformance.harness import Harness, key
from tests.conformance.importing import Coming, erase_all
from tests.conformance.record_harness import OF_TENANT, all_of, listed, name, query
from tests.conformance.test_first_release import insert_rows, session_row
from tests.conformance.test_hidden import stored
from tests.conformance.test_migrations import config_for, drop_all, run, run_cut_short

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Cells
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

REPLACED, PLAIN = key("replaced"), key("never replaced")
START: Final = 50
OLD: Final = range(5)
NEW: Final = range(5, 12)


def rows(
    cells: Cells, scope: Scope, numbers: range, position: int, data_key: bytes | None
) -> dict[str, list[dict[str, Any]]]:
    """The rows of records and their terms, as the migration before stored them."""
    found: dict[str, list[dict[str, Any]]] = {"records": [], "record_terms": []}
    content = Content(cells, scope.cell_key, data_key)
    for number in numbers:
        record = RecordName(scope, ("c",), f"k{number}")
        times = dict.fromkeys(("time", "create_time", "update_time"), 1)
        stored_as = {"collection": "c\x01", "key": record.key}
        row = {
            **scope._asdict(), **stored_as, **times, "etag": "e", "value_type": "", "size": 1,
            "sealed": int(data_key is not None), "labels": '{"l": true}', "position": position,
            "value": content.record_cell(record, str(position).encode()),
        }  # fmt: skip
        found["records"].append(row)
        term = {"path": "l", "term": "t", "name_hash": name_hash("c\x01", record.key)}
        found["record_terms"].append({**scope._asdict(), **term, **stored_as})
    return found


def fill(connection: Connection, cells: Cells, keys: dict[SessionKey, bytes | None]) -> None:
    command.upgrade(config_for(connection), "0011")
    for session, data_key in keys.items():
        row = session_row(session, 0, 1, data_key) | {"message_count": 0, "last_sequence": 100}
        row["records_start"] = START if session == REPLACED else 0
        insert_rows(connection, {"sessions": [row]})
    for scope, numbers, position in (
        (Scope(*REPLACED), OLD, START - 1),
        (Scope(*REPLACED), NEW, START),
        (Scope(*PLAIN), OLD, 7),
    ):
        insert_rows(connection, rows(cells, scope, numbers, position, keys[SessionKey(*scope[:2])]))
    insert_rows(connection, rows(cells, OF_TENANT, OLD, 0, None))
    item = {"what": "records", "through": 0, "position": 0, "after": '["c\\u0001","k1"]'}
    insert_rows(connection, {"erasures": [{**REPLACED._asdict(), **item}]})


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_visible_records_stay_and_hidden_ones_are_erased(
    lasting_url: str, opener: Opener, clock: HandClock, cells: Cells, encrypted: bool
) -> None:
    keys = {each: cells.new_key(*each) if encrypted else None for each in (REPLACED, PLAIN)}
    runner = parse_url(lasting_url).runner(RunOptions(clock=clock, pool_size=2, allow_unsafe=True))
    await runner.start()
    await run(runner, *drop_all())
    await runner.write(lambda connection: fill(connection, cells, keys))

    await run_cut_short(runner)
    await runner.close()
    store = opener(lasting_url)
    await store.start()
    bench = Harness(store, clock)
    for _ in range(2):
        await check(bench, keys)
        await erase_all(bench)
    count = len(NEW) + 2 * len(OLD)
    assert await stored(bench, "SELECT count(*) FROM records") == count
    assert await stored(bench, "SELECT count(*) FROM record_terms") == count
    await change(bench, keys)
    await store.close()


async def check(bench: Harness, keys: dict[SessionKey, bytes | None]) -> None:
    everywhere: list[RecordName] = []
    for session in keys:
        scope, numbers = Scope(*session), NEW if session == REPLACED else OLD
        value = str(START).encode() if session == REPLACED else b"7"
        for filter_ in ({}, {"l": True}):
            found = await all_of(bench.store, query(scope=scope, order="key", filter=filter_))
            assert sorted((each.name.key, each.value) for each in found) == sorted(
                (f"k{number}", value) for number in numbers
            )
        for number in range(12):
            record = await bench.store.record(name(f"k{number}", scope=scope))
            assert (None if record is None else record.value) == (value if number in numbers else None)
        everywhere += [name(f"k{number}", scope=scope) for number in numbers]
    found = await all_of(bench.store, query(all_sessions=True, filter={"l": True}))
    assert sorted(each.name for each in found) == sorted(everywhere)
    assert await listed(bench.store, query(filter={"l": True})) == [f"k{number}" for number in OLD]


async def change(bench: Harness, keys: dict[SessionKey, bytes | None]) -> None:
    """Writes find the migrated records, and an import replaces them."""
    for session, data_key in keys.items():
        first, *_ = NEW if session == REPLACED else OLD
        changed, *_ = (name(f"k{first}", scope=Scope(*session)),)
        put = PutRecord(changed, b"w", {"l": False}, "e")
        await bench.commit(
            Commit(key=session, operations=(put, DeleteRecord(name("k9", scope=changed.scope))))
        )
        assert await listed(bench.store, query(scope=changed.scope, filter={"l": False})) == [f"k{first}"]
        assert await bench.store.record(name("k9", scope=changed.scope)) is None
        await Coming(bench, session, data_key=data_key).all()
        assert len(await listed(bench.store, query(scope=changed.scope))) == 10
        assert await listed(bench.store, query(scope=changed.scope, filter={"l": True})) == []
    await erase_all(bench)
    assert await stored(bench, "SELECT count(*) FROM records") == 2 * 10 + len(OLD)
    assert await stored(bench, "SELECT count(*) FROM record_terms") == 2 * 10 + len(OLD)
