"""Metadata filters: both databases compared with plain Python, and typical mistakes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings, strategies as st

from sessions_server.domain.errors import InvalidRequest
from sessions_server.domain.filters import Condition, Operator, parse_filter
from sessions_server.domain.models import Json, JsonObject, SessionConfig, StorageOptions
from tests.conformance.harness import KEY, Harness, create, key, list_of
from tests.support import commits as c
from tests.support.filters import satisfies

if TYPE_CHECKING:
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

STORED: list[JsonObject] = [
    {},
    {"a": None},
    {"a": True},
    {"a": False},
    {"a": 1},
    {"a": 1.0, "b": 0},
    {"a": 1.5},
    {"a": -0.0},
    {"a": 0.1},
    {"a": 1e300},
    {"a": 5e-324},
    {"a": 9007199254740991},
    {"a": -9007199254740991},
    {"a": "1"},
    {"a": "true"},
    {"a": ""},
    {"a": "é"},
    {"a": "e\u0301"},
    {"a": "Z"},
    {"a": "a"},
    {"a": "\U00010000"},
    {"a": "\uffff"},
    {"a": 'quote " and \\ and \n and /'},
    {"a": "long " * 40},
    {"a": "long " * 40 + "and longer"},
    {"a": []},
    {"a": [1, "1", True, None, 1.5]},
    {"a": ["1"]},
    {"a": [["1"], {"b": 1}]},
    {"a": [[1, 2], [3]]},
    {"a": [0, 1]},
    {"a": list(range(100))},
    {"a": {}},
    {"a": {"b": 1}},
    {"a": {"b": "1", "c": [1, 2]}},
    {"a": {"b": {"c": True, "d": 1}}, "b": {"c": 1}},
    {"a": {"0": "zero"}},
    {"a.b": 1},
    {"": 1, "a": {"": 2}},
    {'a"b': {"c'd": 1}, "$": {"[0]": 2}, "a[0]": 3},
    {"a": {"c": 2, "b": 1}, "b": True},
    {"__proto__": 1, "{1,2}": 2, "$.a')); DROP TABLE": 3},
    {"k" * 200: {"k" * 200: 1}},
]

CASES: list[JsonObject] = [
    {"/a.b": 1},
    {"/a.b": {"$ne": 1}},
    {"/a.b": {"$exists": False}},
    {"/a.b": {"$in": [1, 2]}, "/": {"$exists": False}},
    {"/": 1, "/a/": {"$gte": 2}},
    {"/a/b": 1},
    {"a": None},
    {"a": True},
    {"a": 1},
    {"a": 1.0},
    {"a": "1"},
    {"a": 0},
    {"a": ""},
    {"a": "é"},
    {"a": 0.1},
    {"a": 5e-324},
    {"a": 1e300},
    {"a": []},
    {"a": {"b": 1}},
    {"a": {}},
    {"a": {"c": [2]}},
    {"a": {"b": {"c": True}}},
    {"a": {"$eq": {"b": 1}}},
    {"a": {"$eq": {"b": 1, "c": 2}}},
    {"a": {"$eq": {}}},
    {"a": {"$eq": [0, 1.0]}},
    {"a": {"$eq": "long " * 40}},
    {"a": {"$ne": 1}},
    {"a": {"$ne": None}},
    {"a": {"$ne": {"b": 1}}},
    {"a": {"$gt": 0}},
    {"a": {"$gt": 1.4}},
    {"a": {"$gte": 1}},
    {"a": {"$lt": 0.1}},
    {"a": {"$lte": 0.1}},
    {"a": {"$gt": "Z"}},
    {"a": {"$gt": "\uffff"}},
    {"a": {"$gte": "long " * 40}},
    {"a": {"$lte": "long " * 40}},
    {"a": {"$lt": "a"}},
    {"a": {"$gte": 0, "$lt": 2}},
    {"a": {"$in": [1, "1", True, None]}},
    {"a": {"$in": ["long " * 40]}},
    {"a": {"$exists": True}},
    {"a": {"$exists": False}},
    {"a": {"$contains": 1}},
    {"a": {"$contains": "1"}},
    {"a": {"$contains": True}},
    {"a": {"$contains": None}},
    {"a": {"$contains": [1, 1.5]}},
    {"a": {"$contains": [["1"]]}},
    {"a": {"$contains": [{"b": 1}]}},
    {"a": {"$contains": [[2], [3]]}},
    {"a": {"$contains": []}},
    {"a": {"$contains": {"b": {}}}},
    {"a": {"$contains": 99}},
    {"a": {"$contains": ""}},
    {"a": {"$contains": "and longer"}},
    {"a": {"$contains": '" and \\ and \n'}},
    {"a.b": 1},
    {"a.0": "zero"},
    {"a.b.c": True, "b.c": 1},
    {"a.b": {"$exists": False}, "a": {"$exists": True}},
    {"a\"b.c'd": 1},
    {"$.[0]": 2},
    {"a[0]": 3},
    {"__proto__": 1, "{1,2}": 2},
    {"k" * 200 + "." + "k" * 200: 1},
    {"k" * 200 + "." + "k" * 199: 1},
    {".".join("a" * 32): {"$exists": False}},
    {".".join("a" * 32): 1},
]


@pytest_asyncio.fixture(loop_scope="function")
async def stocked(bench: Harness) -> Harness:
    await bench.apply(
        *(create(key(f"s{number:03}"), metadata=metadata) for number, metadata in enumerate(STORED))
    )
    return bench


def expected(conditions: tuple[Condition, ...]) -> list[str]:
    return [
        f"s{number:03}"
        for number, metadata in enumerate(STORED)
        if all(satisfies(metadata, condition) for condition in conditions)
    ]


async def test_every_filter_finds_what_plain_python_finds(stocked: Harness) -> None:
    for metadata_filter in CASES:
        conditions = parse_filter(metadata_filter)
        for order in ("create_time", "update_time"):
            found = await stocked.listed(list_of(conditions=conditions, order=order))
            assert found == expected(conditions), metadata_filter


TELLING: list[Json] = [0, 1, 2, 1.0, 1.5, -1, 0.1, "0", "1", "", "a", "ab", "true", "é"]

paths = st.lists(st.sampled_from(["a", "b", "c", "0", 'a"b', "$", "é"]), min_size=1, max_size=3).map(tuple)
plain: st.SearchStrategy[Json] = (
    st.none()
    | st.booleans()
    | st.sampled_from(TELLING)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)
)
keys = st.sampled_from(["a", "b", "c", "0", "a.b", 'a"b'])
values: st.SearchStrategy[Json] = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
)
comparable = plain.filter(lambda value: value is not None and not isinstance(value, bool))
conditions_strategy = st.lists(
    st.one_of(
        st.builds(Condition, paths, st.sampled_from([Operator.EQ, Operator.NE, Operator.CONTAINS]), values),
        st.builds(
            Condition,
            paths,
            st.sampled_from([Operator.GT, Operator.GTE, Operator.LT, Operator.LTE]),
            comparable,
        ),
        st.builds(Condition, paths, st.just(Operator.IN), st.lists(plain, min_size=1, max_size=3)),
        st.builds(Condition, paths, st.just(Operator.EXISTS), st.booleans()),
    ),
    min_size=1,
    max_size=2,
).map(tuple)
objects: st.SearchStrategy[JsonObject] = st.dictionaries(keys, values, max_size=3)


@pytest.fixture
def looped(url: str, opener: Opener, clock: HandClock) -> Iterator[tuple[asyncio.Runner, Harness]]:
    """A started store and its event loop, for Hypothesis examples, which are not coroutines."""
    with asyncio.Runner() as runner:
        store = opener(url)
        runner.run(store.start())
        try:
            yield runner, Harness(store, clock)
        finally:
            runner.run(store.close())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=st.lists(objects, min_size=1, max_size=8),
    asked=st.lists(conditions_strategy, min_size=1, max_size=6),
)
def test_a_filter_means_the_same_as_in_plain_python(
    looped: tuple[asyncio.Runner, Harness], stored: list[JsonObject], asked: list[tuple[Condition, ...]]
) -> None:
    runner, bench = looped
    names = [f"s{number}" for number in range(len(stored))]

    async def compare() -> None:
        await bench.apply(
            *(create(key(name), metadata=each) for name, each in zip(names, stored, strict=True))
        )
        try:
            for conditions in asked:
                matching = [
                    name
                    for name, metadata in zip(names, stored, strict=True)
                    if all(satisfies(metadata, condition) for condition in conditions)
                ]
                assert await bench.listed(list_of(conditions=conditions)) == matching
                assert await bench.listed(list_of(conditions=conditions, order="update_time")) == matching
        finally:
            await bench.apply(*(c.delete(key=key(name)) for name in names))

    runner.run(compare())


async def test_metadata_comes_back_equal_and_is_found_after_an_update(bench: Harness) -> None:
    await bench.do(create(metadata={"a": 1, "b": "old", "list": [1, 2]}))
    await bench.do(update({"a": 1, "b": "new", "list": [2, 3]}))
    assert (await bench.store.session(KEY)).metadata == {"a": 1, "b": "new", "list": [2, 3]}
    for metadata_filter, found in (
        ({"a": 1}, ["s"]),
        ({"b": "new"}, ["s"]),
        ({"b": "old"}, []),
        ({"list": {"$contains": 1}}, []),
        ({"list": {"$contains": 3}}, ["s"]),
    ):
        assert await bench.listed(list_of(metadata_filter=metadata_filter)) == found  # type: ignore[arg-type]  # each is a JSON object
    await bench.do(update({}))
    assert await bench.listed(list_of(metadata_filter={"a": 1})) == []


async def test_all_metadata_comes_back_equal(stocked: Harness) -> None:
    found = await stocked.store.sessions(list_of())
    assert [session.metadata for session in found.sessions] == STORED


REFUSED: dict[str, Condition] = {
    "too many values": Condition(("a",), Operator.CONTAINS, {f"k{number}": 1 for number in range(401)}),
    "lists in lists in lists in lists": Condition(("a",), Operator.CONTAINS, [[[[1]]]]),
    "U+0000 in a value": Condition(("a",), Operator.EQ, "a\0b"),
    "U+0000 in a path": Condition(("a\0b",), Operator.EQ, 1),
}


@pytest.mark.parametrize("condition", REFUSED.values(), ids=REFUSED.keys())
async def test_an_unsupported_filter_is_refused(bench: Harness, condition: Condition) -> None:
    with pytest.raises(InvalidRequest):
        await bench.store.sessions(list_of(conditions=[condition]))


async def test_the_largest_filter_works(bench: Harness) -> None:
    wanted: JsonObject = {f"k{number}": {"deep": [number], "n": number} for number in range(12)}
    await bench.do(create(metadata=wanted))
    deepest: Json = 1
    for _ in range(28):
        deepest = {"k": deepest}
    conditions = [Condition((name,), Operator.CONTAINS, item) for name, item in wanted.items()]
    conditions += [Condition(("k1", "n"), Operator.IN, list(range(100)))] * 2
    conditions += [Condition((f"none{number}",), Operator.NE, deepest) for number in range(18)]
    for order in ("create_time", "update_time"):
        assert await bench.listed(list_of(conditions=conditions, order=order)) == ["s"]


def update(metadata: JsonObject) -> c.Commit:
    return c.update(
        key=KEY, paths=("metadata",), metadata=metadata, config=SessionConfig(), storage=StorageOptions()
    )
