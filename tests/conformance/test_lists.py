"""Lists: order, pages, states and users."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.models import (
    SECOND,
    ExpiryAction,
    JsonObject,
    Micros,
    Session,
    SessionConfig,
    State,
    StorageOptions,
)
from sessions_server.storage import search
from tests.conformance.harness import Harness, add, create, key, list_of, move
from tests.support import commits as c

if TYPE_CHECKING:
    from sessions_server.domain.ports import ListQuery

ORDERS = ["create_time", "create_time desc", "update_time", "update_time desc"]

WAYS: dict[str, dict[str, int]] = {
    "as it comes": {},
    "few candidates count as many": {"search.FEW": 2},
    "few expiries count as many": {"search.FEW_LAPSED": 1},
    "few expiries and candidates count as many": {"search.FEW_LAPSED": 1, "search.FEW": 2},
    "pages end early": {"walk.MOST_LOOKED_AT": 1, "search.FEW": 2},
}


def ways() -> Iterator[str]:
    """Each strategy for finding the sessions of a list, as if there were very many."""
    for name, values in WAYS.items():
        with pytest.MonkeyPatch.context() as patch:
            for constant, value in values.items():
                patch.setattr(f"sessions_server.storage.{constant}", value)
            yield name


async def pages(bench: Harness, limit: int, **asked: object) -> list[str]:
    """All pages of a list, in order."""
    found: list[Session] = []
    query = list_of(limit=limit, **asked)  # type: ignore[arg-type]  # the query's own fields
    while True:
        page = await bench.store.sessions(query)
        found += page.sessions
        if page.next is None:
            return [session.key.session_id for session in found]
        query = query._replace(after=page.next)


async def people(bench: Harness) -> None:
    """Sessions a to h; pairs have the same time; every other one is Bob's; later writes reverse the update order."""
    for number, name in enumerate("abcdefgh"):
        if number % 2 == 0:
            bench.clock.turn(seconds=1)
        user = "bob" if number % 2 else "alice"
        await bench.do(create(key(name), user_id=user, metadata={"n": number, "all": True}))
    for name in "hgfedcba":
        bench.clock.turn(seconds=1)
        await bench.do(add("x", key=key(name)))


@pytest.mark.parametrize("order", ORDERS)
async def test_pages_hold_every_session_once_and_in_order(bench: Harness, order: str) -> None:
    await people(bench)
    ascending = "abcdefgh" if order.startswith("create_time") else "hgfedcba"
    expected = ascending[::-1] if order.endswith("desc") else ascending
    filters: list[JsonObject] = [{}, {"all": True}, {"n": {"$gte": 0}}]
    for limit, metadata_filter in itertools.product((1, 3, 8, 9), filters):
        found = await pages(bench, limit, order=order, metadata_filter=metadata_filter)
        assert "".join(found) == expected, (limit, metadata_filter)


@pytest.mark.parametrize("order", ORDERS)
async def test_a_users_list_has_that_users_sessions(bench: Harness, order: str) -> None:
    await people(bench)
    assert sorted(await pages(bench, 3, order=order, user_id="bob")) == list("bdfh")
    assert sorted(await pages(bench, 3, order=order, user_id="bob", metadata_filter={"all": True})) == list(
        "bdfh"
    )
    assert await pages(bench, 3, order=order, user_id="nobody") == []


async def test_archived_sessions_are_listed_only_on_request(bench: Harness) -> None:
    await people(bench)
    await bench.apply(
        move(c.Verb.ARCHIVE, key("a")), move(c.Verb.START, key("b")), move(c.Verb.END, key("c"))
    )
    assert await bench.listed(list_of()) == list("bcdefgh")
    assert await bench.listed(list_of(states=[State.ARCHIVED, State.ACTIVE])) == ["a", "b"]
    assert await bench.listed(list_of(states=State)) == list("abcdefgh")
    assert await bench.listed(list_of(states=[State.ENDED], metadata_filter={"all": True})) == ["c"]


async def test_a_page_mixes_recorded_and_unrecorded_expiries_in_order(bench: Harness) -> None:
    for name in "abcdef":
        bench.clock.turn(seconds=1)
        idle = SessionConfig(timeout=Micros(10 * SECOND)) if name in "ace" else SessionConfig()
        await bench.do(create(key(name), config=idle))
    bench.clock.turn(seconds=60)
    await bench.do(c.expire(key=key("c")))
    for way in ways():
        assert await pages(bench, 2) == list("abcdef"), way
        assert await pages(bench, 1, states=[State.EXPIRED]) == list("ace"), way
        assert await pages(bench, 1, states=[State.CREATED]) == list("bdf"), way
        assert await pages(bench, 2, states=[State.EXPIRED], user_id="u") == list("ace"), way


@pytest.mark.parametrize("order", ["update_time", "update_time desc"])
@pytest.mark.parametrize("metadata_filter", [{}, {"all": True}], ids=["list", "search"])
async def test_an_expiry_is_an_update_wherever_a_page_begins_and_whether_or_not_it_is_recorded(
    bench: Harness, order: str, metadata_filter: JsonObject
) -> None:
    idle = SessionConfig(timeout=Micros(10 * SECOND))
    kept = StorageOptions(ttl=Micros(20 * SECOND), expiry_action=ExpiryAction.RETAIN)
    for name in "abcdefg":
        bench.clock.turn(seconds=1)
        new = create(
            key(name),
            metadata={"all": True},
            config=idle if name in "ace" else SessionConfig(),
            storage=kept if name in "ef" else StorageOptions(),
        )
        await bench.do(new)
    for name in "gdb":
        bench.clock.turn(seconds=1)
        await bench.do(add("x", key=key(name)))
    bench.clock.turn(seconds=60)
    expected = "gdbacef"[:: -1 if order.endswith("desc") else 1]
    for recorded in ("", "a", "ace"):
        await bench.apply(*(c.expire(key=key(name)) for name in recorded))
        for way in ways():
            for limit, user_id in itertools.product((1, 2, 7), ("", "u")):
                found = await pages(
                    bench, limit, order=order, metadata_filter=metadata_filter, user_id=user_id
                )
                assert "".join(found) == expected, (recorded, way, limit, user_id)


@pytest.mark.parametrize("order", ORDERS)
async def test_an_idle_session_archived_by_its_ttl_is_listed_as_archived(bench: Harness, order: str) -> None:
    for name, ttl in (("a", 30), ("b", 15), ("c", 90)):
        storage = StorageOptions(ttl=Micros(ttl * SECOND), expiry_action=ExpiryAction.ARCHIVE)
        await bench.do(create(key(name), config=SessionConfig(timeout=Micros(10 * SECOND)), storage=storage))
        bench.clock.turn(seconds=1)
    bench.clock.turn(seconds=60)
    archived = list("ab" if order in ("create_time", "update_time desc") else "ba")
    for way in ways():
        assert await pages(bench, 1, order=order, states=[State.ARCHIVED]) == archived, way
        assert await pages(bench, 1, order=order, states=[State.EXPIRED]) == ["c"], way
        assert await pages(bench, 1, order=order, states=[State.CREATED]) == [], way


async def test_another_tenants_sessions_are_never_listed(bench: Harness) -> None:
    await bench.apply(create(key("a")), create(key("b", "other"), metadata={"x": 1}))
    assert await bench.listed(list_of()) == ["a"]
    assert await bench.listed(list_of(metadata_filter={"x": 1})) == []
    assert await bench.listed(list_of(tenant="other")) == ["b"]


async def test_ties_are_ordered_by_the_code_points_of_ids(bench: Harness) -> None:
    names = ["Z", "a", "B", "_", "~", "b.1", "b-1", "b:1"]
    await bench.apply(*(create(key(name)) for name in names))
    assert await pages(bench, 3) == sorted(names)
    assert await pages(bench, 3, order="create_time desc") == sorted(names, reverse=True)


async def test_paging_loses_no_session_while_others_are_created(bench: Harness) -> None:
    before = [f"old{number:02}" for number in range(40)]
    for name in before:
        bench.clock.turn(micros=1)
        await bench.do(create(key(name), metadata={"all": True}))

    async def create_more() -> None:
        for number in range(40):
            bench.clock.turn(micros=1)
            await bench.do(create(key(f"new{number:02}"), metadata={"all": True}))

    async with asyncio.TaskGroup() as group:
        group.create_task(create_more())
        up = group.create_task(pages(bench, 3))
        down = group.create_task(pages(bench, 3, order="create_time desc"))
        searched = group.create_task(pages(bench, 3, metadata_filter={"all": True}))
    for found in (up.result(), down.result(), searched.result()):
        assert len(found) == len(set(found))
        assert set(before) <= set(found)


MANY: dict[str, ListQuery] = {
    "a frequent term": list_of(metadata_filter={"all": True}),
    "a frequent term, by update": list_of(metadata_filter={"all": True}, order="update_time"),
    "two terms": list_of(metadata_filter={"all": True, "n": 3}),
    "a range": list_of(metadata_filter={"n": {"$gt": 2}}),
    "an absence": list_of(metadata_filter={"n": {"$ne": 3}}),
    "a user's": list_of(metadata_filter={"n": {"$exists": True}}, user_id="bob"),
}


@pytest.mark.parametrize("query", MANY.values(), ids=MANY.keys())
async def test_a_search_returns_the_same_with_few_and_many_candidates(
    bench: Harness, query: ListQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people(bench)
    few = await bench.listed(query)
    monkeypatch.setattr(search, "FEW", 2)  # as if there were very many
    assert await bench.listed(query) == few != []
