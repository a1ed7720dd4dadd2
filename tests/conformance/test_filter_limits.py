"""Every documented limit of a filter, at the limit and one past it, on sessions and on records."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from sessions_server.domain.errors import InvalidRequest
from sessions_server.domain.filters import parse_filter
from sessions_server.domain.models import Json, JsonObject
from tests.conformance.harness import Harness, create, key, list_of
from tests.conformance.record_harness import listed, name, put, query, write
from tests.support.filters import satisfies

if TYPE_CHECKING:
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

VALUES = 400
COMPARISONS = 50
KEYS = 255
"""Together with the path there are 256."""


@pytest_asyncio.fixture
async def bench(lasting_url: str, opener: Opener, clock: HandClock) -> AsyncIterator[Harness]:
    store = opener(lasting_url)
    await store.start()
    yield Harness(store, clock)
    await store.close()


def deep(levels: int, value: Json) -> Json:
    for _ in range(levels):
        value = {"k": value}
    return value


def contains(wanted: Json) -> JsonObject:
    return {"a": {"$contains": wanted}}


STORED: dict[str, JsonObject] = {
    "plain": {"a": list(range(VALUES)), "s": "x" * 1_000},
    "objects": {"a": [{"n": number, "m": {"s": str(number)}, "more": [number]} for number in range(VALUES)]},
    "lists": {"a": [[number, str(number)] for number in range(VALUES)]},
    "nested": {"a": [[[number], [str(number), None]] for number in range(VALUES // 2)]},
    "an object": {"a": {f"k{number}": number for number in range(KEYS)}},
    "an object of lists": {"a": {f"k{number}": [number, True] for number in range(KEYS)}},
    "an object of objects": {"a": {f"k{number}": {} for number in range(KEYS)}},
    "a deep one": {"a": deep(29, {"x": 1, "y": [1, {"z": None}]})},
    "a deep path": {"k": deep(31, 1)},
    "numbers": {"p": 1, "q": 2, "r": 3.0, "s": 99},
}

EDGES: dict[str, JsonObject] = {
    "247 plain values": contains([*range(247)]),
    "400 plain values": contains([*range(VALUES)]),
    "400 plain values, one of them elsewhere": contains([*range(1, VALUES + 1)]),
    "400 objects": contains([{"n": number} for number in range(VALUES)]),
    "400 objects, one of them elsewhere": contains([{"n": number} for number in range(1, VALUES + 1)]),
    "200 objects of two values": contains(
        [{"n": number, "m": {"s": str(number)}} for number in range(VALUES // 2)]
    ),
    "200 objects of values that are apart": contains(
        [{"n": number, "m": {"s": str(number + 1)}} for number in range(VALUES // 2)]
    ),
    "200 objects with lists": contains([{"n": number, "more": [number]} for number in range(VALUES // 2)]),
    "400 lists": contains([[number] for number in range(VALUES)]),
    "400 lists, one of them elsewhere": contains([[number] for number in range(1, VALUES + 1)]),
    "49 lists in lists in a list": contains(
        [[[number], [str(number)]] for number in range((COMPARISONS - 1) // 2)]
    ),
    "255 keys": contains({f"k{number}": number for number in range(KEYS)}),
    "255 keys with lists": contains({f"k{number}": [number] for number in range(KEYS)}),
    "255 keys with objects": contains({f"k{number}": {} for number in range(KEYS)}),
    "255 keys, one with another value": contains({f"k{number}": number or 1 for number in range(KEYS)}),
    "29 objects in each other": contains(deep(29, {"x": 1, "y": [{"z": None}]})),
    "$eq of 400 values": {"a": {"$eq": [*range(VALUES)]}},
    "$ne of 400 values": {"a": {"$ne": [*range(VALUES)]}},
    "four times $in with 100 values": {path: {"$in": [*range(100)]} for path in "pqrs"},
    "$in with 100 values": {".".join(["k"] * 32): {"$in": [str(number) for number in range(99)] + [1.0]}},
    "32 conditions on 32 parts": {
        ".".join(["k"] * 32): {"$gt": 0, "$gte": 1, "$lt": 2, "$lte": 1, "$eq": 1, "$ne": 2, "$exists": True},
        "/" + "/".join(["k"] * 32): {"$in": [1], "$ne": "1"},
        **{".".join([*"k" * 31, f"x{number}"]): {"$exists": False} for number in range(22)},
        "k": {"$ne": 1},
    },
    "a part of a long string": {"s": {"$contains": "x" * 1_000}},
}

PAST: dict[str, tuple[JsonObject, str]] = {
    "401 values": (contains([*range(VALUES + 1)]), "at most 400 values"),
    "401 values in several": (contains([*range(VALUES)]) | {"b": 1}, "at most 400 values"),
    "401 empty lists": (contains([[]] * (VALUES + 1)), "at most 400 values"),
    "401 empty objects": (contains([{"k": {}}] * (VALUES + 1)), "at most 400 values"),
    "26 lists of lists": (contains([[[number]] for number in range(26)]), "at most 50 items of lists"),
    "51 different objects": (contains([{f"k{number}": 1} for number in range(51)]), "at most 50 items"),
    "51 objects of empty objects": (contains([{"k": {}}] * 51), "at most 50 items of lists"),
    "51 lists of lists under keys": (contains({f"k{number}": [[1]] for number in range(51)}), "at most 50"),
    "lists nested 4 deep": (contains([[[[1]]]]), "at most 3 deep"),
    "33 conditions": ({f"k{number}": 1 for number in range(33)}, "at most 32 conditions"),
    "$in with 101 values": ({"a": {"$in": [*range(101)]}}, "1 to 100"),
    "33 parts": ({".".join(["k"] * 33): 1}, "at most 32 parts"),
}


async def test_a_filter_at_a_limit_finds_what_plain_python_finds(bench: Harness) -> None:
    store = bench.store
    store.lane.seconds = 300  # the machine may be busy
    names = {f"s{number:02}": metadata for number, metadata in enumerate(STORED.values())}
    await bench.apply(*(create(key(id_), metadata=metadata) for id_, metadata in names.items()))
    await write(store, *(put(name(id_), labels=metadata) for id_, metadata in names.items()))
    for what, wanted in EDGES.items():
        conditions = parse_filter(wanted)
        expected = [id_ for id_, each in names.items() if all(satisfies(each, one) for one in conditions)]
        assert await bench.listed(list_of(metadata_filter=wanted)) == expected, what
        assert await bench.listed(list_of(metadata_filter=wanted, order="update_time")) == expected, what
        assert await listed(store, query(filter=wanted)) == expected, what
        assert bool(expected) is not ("elsewhere" in what or "apart" in what or "another" in what), what


@pytest.mark.parametrize(("wanted", "sentence"), PAST.values(), ids=PAST.keys())
async def test_a_filter_past_a_limit_is_refused_with_a_sentence(
    file_url: str, opener: Opener, wanted: JsonObject, sentence: str
) -> None:
    store = opener(file_url)
    await store.start()
    asked: dict[str, Any] = {
        "metadata_filter": lambda: store.sessions(list_of(metadata_filter=wanted)),
        "filter": lambda: store.records(query(filter=wanted)),
    }
    for field, ask in asked.items():
        with pytest.raises(InvalidRequest) as caught:
            await ask()
        assert sentence in caught.value.message, field
    await store.close()
