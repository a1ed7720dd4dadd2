"""Records on every store: values come back, expire exactly, and can be found, listed and deleted."""

from __future__ import annotations

import random

import pytest

from sessions_server.domain.models import JsonObject, SessionKey
from sessions_server.domain.record_reads import CollectionQuery
from sessions_server.domain.records import Record, RecordName, Scope
from sessions_server.storage import record_lists, walk
from tests.conformance.harness import KEY, OTHER, Harness, create
from tests.conformance.record_harness import (
    IN_SESSION,
    OF_TENANT,
    OF_USER,
    all_of,
    delete,
    listed,
    micros,
    name,
    put,
    query,
    write,
)

LONG = tuple("\U0001f600" * 255 + chr(0x4E00 + number) for number in range(16))
ODD_NAMES = [
    name("", "c"),
    name("\x01\x02\x7f", "\x01", "\x02", "\x02\x01"),
    name("\U0001f600" * 256, *LONG),
    name("x" * 1024, *LONG, scope=Scope("default", user_id="\U0001f600" * 256)),
    name("~" * 1024, *LONG[:15], "z", scope=Scope("t" * 128, session_id="s" * 128)),
]


async def test_a_record_comes_back_as_it_was_written(bench: Harness) -> None:
    value = bytes(range(256)) * 12 * 1024  # 3 MiB
    labels: JsonObject = {"a": [1, {"b": None}], "c": "\u2028", "d": 0.5}
    await bench.do(create())
    for scope in (IN_SESSION, OF_USER, OF_TENANT):
        wanted = put(name("k", "a", "b", scope=scope), value, labels, value_type="x/y", time=micros(5))
        await write(bench.store, wanted)
        record = await bench.store.record(wanted.name)
        assert record is not None
        assert record.value == value
        assert (record.labels, record.value_type, record.time) == (labels, "x/y", micros(5))
        assert record.create_time == record.update_time == bench.clock.now()
        assert await bench.store.record(name("k", "a", scope=scope)) is None


@pytest.mark.parametrize("number", range(len(ODD_NAMES)))
async def test_unusual_names_up_to_the_limit_are_accepted(bench: Harness, number: int) -> None:
    wanted = ODD_NAMES[number]
    if wanted.scope.session is not None:
        await bench.do(create(wanted.scope.session))
    labels: JsonObject = {"\U0001f600" * 200: "\U0001f600" * 200, "one": 1}
    await write(bench.store, put(wanted, b"v", labels))
    record = await bench.store.record(wanted)
    assert record is not None
    assert record.name == wanted
    for order in ("key", "time desc"):
        for subtree in (False, True):
            asked = query(*wanted.collection, scope=wanted.scope, order=order, subtree=subtree)
            assert [each.name for each in await all_of(bench.store, asked)] == [wanted]
            found = query(*wanted.collection, scope=wanted.scope, subtree=subtree, filter={"one": 1})
            assert [each.name for each in await all_of(bench.store, found)] == [wanted]
    page = await bench.store.collections(CollectionQuery(wanted.scope))
    assert page.paths == (wanted.collection,)
    await write(bench.store, delete(wanted))
    assert await bench.store.record(wanted) is None


async def test_a_second_write_replaces_everything_except_the_creation_time(bench: Harness) -> None:
    created = bench.clock.now()
    await write(bench.store, put("k", b"1", {"a": 1, "b": 1}, ttl=micros(60), etag="e1"))
    bench.clock.turn(seconds=1)
    await write(bench.store, put("k", b"2", {"a": 2}, etag="e2"))
    record = await bench.store.record(name("k"))
    assert record is not None
    assert (record.value, record.etag, record.labels) == (b"2", "e2", {"a": 2})
    assert (record.ttl, record.expire_time) == (None, None)
    assert (record.create_time, record.update_time) == (created, bench.clock.now())
    for labels, found in (({"a": 1}, []), ({"a": 2}, ["k"]), ({"b": 1}, [])):
        assert await listed(bench.store, query(filter=labels)) == found


async def test_a_ttl_is_exact(bench: Harness) -> None:
    await write(bench.store, put("k", b"1", {"a": 1}, ttl=micros(10)), put("forever"))
    bench.clock.turn(micros=micros(10) - 1)
    assert await bench.store.record(name("k")) is not None
    assert await listed(bench.store, query()) == ["forever", "k"]
    bench.clock.turn(micros=1)
    assert await bench.store.record(name("k")) is None
    assert await listed(bench.store, query()) == ["forever"]
    assert await listed(bench.store, query(order="time", subtree=True, filter={"a": 1})) == []
    assert (await write(bench.store, put("k", b"2", if_absent=True))).writes  # writers see it as absent too
    record = await bench.store.record(name("k"))
    assert record is not None
    assert (record.value, record.create_time) == (b"2", bench.clock.now())


async def test_a_refreshing_read_restarts_the_ttl(bench: Harness) -> None:
    await bench.do(create())
    names = [name("k", scope=scope) for scope in (IN_SESSION, OF_USER)]
    for wanted in names:
        await write(bench.store, put(wanted, ttl=micros(10)), put(name("forever", scope=wanted.scope)))
    bench.clock.turn(seconds=9)
    for wanted in names:
        record = await bench.store.record(wanted, refresh_ttl=True)
        assert record is not None
        assert record.expire_time == bench.clock.now() + micros(10)
    bench.clock.turn(seconds=9)
    for wanted in names:
        page = await bench.store.records(query(scope=wanted.scope, refresh_ttl=True))
        assert [each.expire_time for each in page.records] == [None, bench.clock.now() + micros(10)]
    bench.clock.turn(seconds=10)
    for wanted in names:
        assert await bench.store.record(wanted, refresh_ttl=True) is None


async def test_the_sweeper_deletes_only_expired_records(bench: Harness) -> None:
    await write(
        bench.store,
        *(put(f"k{number}", labels={"a": number}, ttl=micros(number + 1)) for number in range(5)),
        put("forever", labels={"a": 0}),
    )
    bench.clock.turn(seconds=3)
    assert [await bench.store.sweep_records(2) for _ in range(3)] == [2, 1, 0]
    assert await listed(bench.store, query()) == ["forever", "k3", "k4"]
    assert await listed(bench.store, query(filter={"a": 0})) == ["forever"]


async def test_scopes_and_tenants_are_isolated(bench: Harness) -> None:
    await bench.do(create())
    scopes = [IN_SESSION, OF_USER, OF_TENANT, Scope("other"), Scope("default", user_id="s")]
    for number, scope in enumerate(scopes):
        await write(bench.store, put(name("k", scope=scope), str(number).encode(), {"l": 1}))
    for number, scope in enumerate(scopes):
        record = await bench.store.record(name("k", scope=scope))
        assert record is not None
        assert record.value == str(number).encode()
        for order in ("key", "time"):
            for subtree in (False, True):
                asked = query(scope=scope, subtree=subtree, order=order)
                assert [each.value for each in await all_of(bench.store, asked)] == [record.value]
        assert len(await all_of(bench.store, query(scope=scope, filter={"l": 1}))) == 1
    everything = query(scope=OF_TENANT, all_sessions=True)
    assert [each.name.scope for each in await all_of(bench.store, everything)] == [IN_SESSION]
    assert await all_of(bench.store, query(scope=Scope("other"), all_sessions=True)) == []


async def test_a_prefix_deletes_its_records(bench: Harness) -> None:
    keys = ["a", "a\U0010ffff", "a\U0010ffffb", "ab", "b", "\U0010ffff", "\U0010ffff\U0010ffff"]
    await write(bench.store, *(put(key, labels={"l": 1}) for key in keys), put(name("a", "d")))
    await write(bench.store, delete("a\U0010ffff", prefix=True))
    assert await listed(bench.store, query()) == ["a", "ab", "b", "\U0010ffff", "\U0010ffff\U0010ffff"]
    await write(bench.store, delete("\U0010ffff", prefix=True))
    assert await listed(bench.store, query()) == ["a", "ab", "b"]
    await write(bench.store, delete("", prefix=True))
    assert await listed(bench.store, query(filter={"l": 1})) == []
    assert await listed(bench.store, query("d")) == ["a"]


KEYS = ["", "a", "a\x01", "a\x02b", "aa", "ab", "b", "\ud7ff", "\ue000", "\U0001f600"]
PATHS = [("c",), ("c", "x"), ("c", "x", "y"), ("c\x01",), ("ca",), ("d",)]


async def fill(bench: Harness) -> list[RecordName]:
    """Records of two sessions in nested collections, with times in a different order."""
    await bench.apply(create(KEY), create(OTHER))
    names = [
        RecordName(Scope("default", session_id=session_id), path, key)
        for session_id in ("s", "other")
        for path in PATHS
        for key in KEYS
    ]
    times = list(range(len(names)))
    random.Random(1).shuffle(times)
    labels: list[JsonObject] = [{"n": number % 3, "odd": bool(number % 2)} for number in range(len(names))]
    writes = zip(names, labels, times, strict=True)
    await write(bench.store, *(put(each, labels=label, time=micros(at // 2)) for each, label, at in writes))
    return names


@pytest.mark.parametrize("few", [0, 5_000], ids=["in order", "one by one"])
@pytest.mark.parametrize("order", ["key", "key desc", "time", "time desc"])
async def test_pages_of_any_size_have_the_requested_records_in_order(
    bench: Harness, monkeypatch: pytest.MonkeyPatch, order: str, few: int
) -> None:
    monkeypatch.setattr(record_lists, "FEW", few)
    monkeypatch.setattr(walk, "MOST_LOOKED_AT", 40)
    monkeypatch.setattr(walk, "_CHUNK", 15)
    await fill(bench)
    everything = await all_of(bench.store, query(subtree=True, all_sessions=True)._replace(collection=()))
    assert len(everything) == 2 * len(PATHS) * len(KEYS)
    for all_sessions in (False, True):
        scope = OF_TENANT if all_sessions else IN_SESSION
        for subtree, wanted, bounds in (
            (False, {}, {}),
            (True, {}, {}),
            (True, {"n": 1}, {}),
            (False, {"n": {"$ne": 1}, "odd": True}, {}),
            (False, {}, {"key_prefix": "a"}),
            (True, {"n": {"$in": [0, 2]}}, {"key_prefix": "a", "after_key": "a", "before_key": "ab"}),
            (False, {}, {"after_key": "b"}),
        ):
            for limit in (7, 1_000):
                asked = query(
                    "c", scope=scope, all_sessions=all_sessions, subtree=subtree, filter=wanted, order=order,
                    limit=limit, **bounds,
                )  # fmt: skip
                expected = [
                    record
                    for record in everything
                    if (all_sessions or record.name.scope == scope)
                    and (record.name.collection[0] == "c" if subtree else record.name.collection == ("c",))
                    and all(
                        record.labels[key]
                        in (operand.get("$in", [0, 2]) if isinstance(operand, dict) else [operand])
                        for key, operand in wanted.items()
                    )
                    and record.name.key.startswith(bounds.get("key_prefix", ""))
                    and (not bounds.get("after_key") or record.name.key > bounds["after_key"])
                    and (not bounds.get("before_key") or record.name.key < bounds["before_key"])
                ]

                def place(record: Record) -> tuple[object, ...]:
                    (_, session_id, _), collection, key = record.name
                    time = [record.time] if order.startswith("time") else []
                    return (*time, collection, key, session_id)

                expected.sort(key=place, reverse=order.endswith("desc"))
                assert await all_of(bench.store, asked) == expected


async def test_a_page_ends_when_the_response_is_full(bench: Harness) -> None:
    values = {f"k{number}": bytes([number]) * 1_000_000 for number in range(5)}
    await write(bench.store, *(put(key, value) for key, value in values.items()))
    page = await bench.store.records(query())
    assert [len(page.records), page.next is None] == [3, False]
    assert {each.name.key: each.value for each in await all_of(bench.store, query())} == values
    keys = await bench.store.records(query(keys_only=True))
    assert [each.value for each in keys.records] == [b""] * 5
    assert keys.next is None


async def test_collections_are_listed_once_and_in_order(bench: Harness) -> None:
    await fill(bench)
    await write(bench.store, put(name("k", "gone", scope=IN_SESSION), ttl=micros(1)))
    bench.clock.turn(seconds=1)

    async def collections(limit: int = 100, **more: object) -> list[tuple[str, ...]]:
        asked = CollectionQuery(IN_SESSION, limit=limit)._replace(**more)  # type: ignore[arg-type]  # the query's own fields
        found: list[tuple[str, ...]] = []
        while True:
            page = await bench.store.collections(asked)
            found += page.paths
            if not page.has_more:
                return found
            asked = asked._replace(after=found[-1])

    for limit in (1, 2, 100):
        assert await collections(limit) == sorted(PATHS)
        assert await collections(limit, max_depth=1) == [("c",), ("c\x01",), ("ca",), ("d",)]
        assert await collections(limit, prefix=("c",)) == [("c",), ("c", "x"), ("c", "x", "y")]
        assert await collections(limit, prefix=("c",), max_depth=2) == [("c",), ("c", "x")]
        assert await collections(limit, scope=OF_TENANT, all_sessions=True) == sorted(PATHS)
    assert await collections(scope=OF_USER) == []


async def test_a_session_erased_by_its_ttl_has_no_records(bench: Harness) -> None:
    from sessions_server.domain.models import ExpiryAction, StorageOptions

    fleeting = StorageOptions(ttl=micros(60), expiry_action=ExpiryAction.DELETE)
    await bench.apply(create(storage=fleeting), create(OTHER))
    others = Scope("default", session_id=OTHER.session_id)
    await write(bench.store, put(name("k", scope=IN_SESSION)), put(name("k", scope=others)))
    bench.clock.turn(seconds=60)
    assert await bench.store.record(name("k", scope=IN_SESSION)) is None
    assert await bench.store.record(name("k", scope=IN_SESSION), refresh_ttl=True) is None
    assert await listed(bench.store, query(scope=IN_SESSION)) == []
    assert len(await listed(bench.store, query(all_sessions=True))) == 1
    assert (await bench.store.collections(CollectionQuery(IN_SESSION))).paths == ()


def test_the_harness_session_is_that_of_the_scope() -> None:
    assert IN_SESSION.session == KEY == SessionKey("default", "s")
