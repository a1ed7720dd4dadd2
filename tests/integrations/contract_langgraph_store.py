"""The stores for LangGraph's items, compared with LangGraph's own SQLite store as the reference."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from langgraph.store.base import BaseStore, PutOp
from langgraph.store.sqlite import SqliteStore

from sessions_client import AsyncClient, Client, RecordName, Scope
from sessions_client.integrations.langgraph import AsyncSessionsStore, SessionsStore

ADDRESS = os.environ["SESSIONS_TEST_ADDRESS"]


@pytest.fixture(params=["LangGraph's own", "ours"])
def store(request: pytest.FixtureRequest) -> Iterator[BaseStore]:
    with ExitStack() as stack:
        if request.param == "ours":
            yield SessionsStore(stack.enter_context(Client(ADDRESS)))
        else:
            own = stack.enter_context(SqliteStore.from_conn_string(":memory:"))
            own.setup()
            yield own


def test_items_of_a_store(store: BaseStore) -> None:
    root = str(uuid.uuid4())
    value = {"z": 1.5, "a": 2**53 - 1, "deep": {"x": [1, {"y": None}]}, "text": "é"}
    store.put((root, "u1"), "k", value)
    store.put((root, "u2"), "k", {"z": 3, "deep": {"x": "s"}})
    store.put((root, "u2", "more"), "other/key ~", {"z": 4})
    found = store.get((root, "u1"), "k")
    assert found is not None
    assert list(found.value.items()) == list(value.items())
    assert store.get((root, "u1"), "none") is None
    assert {item.key for item in store.search((root,))} == {"k", "other/key ~"}
    assert [item.value["z"] for item in store.search((root,), filter={"z": {"$gt": 3}})] == [4]
    assert {item.value["z"] for item in store.search((root,), filter={"z": {"$gte": 3}})} == {3, 4}
    assert [
        item.value["z"] for item in store.search((root,), filter={"z": {"$ne": 4}}, limit=5, offset=1)
    ] != []
    assert store.list_namespaces(prefix=(root,)) == [(root, "u1"), (root, "u2"), (root, "u2", "more")]
    assert store.list_namespaces(prefix=(root,), max_depth=2) == [(root, "u1"), (root, "u2")]
    assert store.list_namespaces(prefix=(root, "*"), suffix=("more",)) == [(root, "u2", "more")]
    assert store.list_namespaces(prefix=(root,), limit=1, offset=1) == [(root, "u2")]
    store.delete((root, "u1"), "k")
    assert store.get((root, "u1"), "k") is None
    assert store.list_namespaces(prefix=(root,)) == [(root, "u2"), (root, "u2", "more")]


@pytest.mark.parametrize("key", ["", "\0", "a\0b", "\x1b", "#x", "x" * 3_000, "é" * 600])
def test_any_string_is_a_key(store: BaseStore, key: str) -> None:
    root = str(uuid.uuid4())
    store.put((root,), key, {"n": 1})
    store.put((root,), "another", {"n": 2})
    found = store.get((root,), key)
    assert found is not None
    assert (found.key, found.value) == (key, {"n": 1})
    assert {item.key for item in store.search((root,))} == {key, "another"}
    store.delete((root,), key)
    assert store.get((root,), key) is None


def test_many_items_in_one_batch(store: BaseStore) -> None:
    root = str(uuid.uuid4())
    store.batch([PutOp((root,), f"{number:04}", {"n": number}) for number in range(1_500)])
    assert len(store.search((root,), limit=2_000)) == 1_500
    assert len(store.search((root,), filter={"n": {"$lt": 1_200}}, limit=1_000, offset=300)) == 900


def test_items_are_found_after_empty_pages() -> None:
    with Client(os.environ["SESSIONS_TEST_SHORT_PAGES_ADDRESS"]) as client:
        store = SessionsStore(client)
        for number in range(3):
            store.put(("wanted",), str(number), {"n": number})
        store.batch([PutOp(("other",), str(number), {"n": number}) for number in range(10)])
        assert [item.key for item in store.search(("wanted",))] == ["2", "1", "0"]
        assert [item.key for item in store.search(("wanted",), limit=1, offset=1)] == ["1"]
        assert [item.key for item in store.search(("wanted",), filter={"n": 0})] == ["0"]


def test_filters_name_nested_values_by_path(store: BaseStore) -> None:
    root = str(uuid.uuid4())
    store.put((root,), "one", {"user": {"access-level": "nested", "1": {"x": 2}}})
    store.put((root,), "two", {"user": "another"})
    for wanted in ({"user.access-level": "nested"}, {"user.1.x": 2}, {"user.1.x": {"$gt": 1}}):
        assert [item.key for item in store.search((root,), filter=wanted)] == ["one"]


@pytest.mark.parametrize("refreshes", [True, False])
async def test_a_read_restarts_only_the_lifetime_of_what_it_returns(refreshes: bool) -> None:
    root = str(uuid.uuid4())
    async with AsyncClient(ADDRESS) as client:
        config: Any = {"default_ttl": 5, **({"refresh_on_read": True} if refreshes else {})}
        store = AsyncSessionsStore(client, ttl=config)
        for number in range(3):
            await store.aput((root,), str(number), {"n": number})

        async def ends() -> list[Any]:
            names = [RecordName(Scope(tenant=True), ("langgraph-store", root), key) for key in "012"]
            return [(await client.records.get(name)).expire_time for name in names]

        before = await ends()
        assert len(await store.asearch((root,), filter={"n": 0})) == 1
        assert len(await store.asearch((root,), limit=1, offset=1)) == 1
        after = await ends()
        await store.aget((root,), "2")
        last = await ends()
    assert [one < other for one, other in zip(before, after, strict=True)] == [refreshes, refreshes, False]
    assert [one < other for one, other in zip(after, last, strict=True)] == [False, False, refreshes]


async def test_the_asynchronous_store() -> None:
    root = str(uuid.uuid4())
    async with AsyncClient(ADDRESS) as client:
        store = AsyncSessionsStore(client, ttl={"default_ttl": 5, "refresh_on_read": True})
        await store.aput((root,), "k", {"a": 2**70, "inf": float("inf")})
        found = await store.aget((root,), "k")
        assert found is not None
        assert found.value == {"a": 2**70, "inf": float("inf")}
        assert [item.key for item in await store.asearch((root,))] == ["k"]
        assert await store.alist_namespaces(prefix=(root,)) == [(root,)]
