"""The index of metadata: everything that matches a condition is among the candidates from the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, strategies as st

from sessions_server.domain.filters import Condition, Operator
from sessions_server.storage.terms import Candidates, Term, candidates, terms
from tests.support.filters import satisfies

if TYPE_CHECKING:
    from sessions_server.domain.models import Json, JsonObject

keys = st.sampled_from(["a", "b", "a.b", "", "k" * 200])
plain: st.SearchStrategy[Json] = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-3, 3)
    | st.text(max_size=3)
    | st.text("ab", min_size=62, max_size=67)
)
values: st.SearchStrategy[Json] = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
objects: st.SearchStrategy[JsonObject] = st.dictionaries(keys, values, max_size=3)
paths = st.lists(st.sampled_from(["a", "b", "k" * 200]), min_size=1, max_size=3).map(tuple)
ordered = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-3, 3) | st.text(max_size=3)
conditions = st.one_of(
    st.builds(Condition, paths, st.sampled_from([Operator.EQ, Operator.NE, Operator.CONTAINS]), values),
    st.builds(
        Condition, paths, st.sampled_from([Operator.GT, Operator.GTE, Operator.LT, Operator.LTE]), ordered
    ),
    st.builds(Condition, paths, st.just(Operator.IN), st.lists(plain, min_size=1, max_size=3)),
    st.builds(Condition, paths, st.just(Operator.EXISTS), st.booleans()),
)


def is_candidate(stored: set[Term], found: Candidates) -> bool:
    return any(
        path == found.path and low <= term <= high for path, term in stored for low, high in found.ranges
    )


@given(metadata=objects, condition=conditions)
@example(metadata={"a": list(range(65))}, condition=Condition(("a",), Operator.CONTAINS, 64))
@example(metadata={"a": "a" * 65 + "b"}, condition=Condition(("a",), Operator.GT, "a" * 65))
@example(metadata={"a": "a" * 65}, condition=Condition(("a",), Operator.LT, "a" * 65 + "b"))
@example(metadata={"a": -0.0}, condition=Condition(("a",), Operator.EQ, 0))
@example(metadata={"a": {"b": {"": 1}}}, condition=Condition(("a",), Operator.CONTAINS, {"b": {"": 1}}))
def test_every_match_is_among_the_candidates(metadata: JsonObject, condition: Condition) -> None:
    if satisfies(metadata, condition):
        stored = terms(metadata)
        assert all(is_candidate(stored, found) for found in candidates(condition))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53), min_size=2))
def test_terms_of_numbers_are_ordered_like_the_numbers(numbers: list[float]) -> None:
    by_term = sorted(numbers, key=lambda number: next(iter(terms({"a": number}))).term)
    assert by_term == sorted(numbers)


def test_values_of_different_types_have_different_terms() -> None:
    values: list[Json] = [None, True, False, 1, "1", "true", "", [], {}]
    assert len({next(iter(terms({"a": value}))) for value in values}) == len(values)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"device": {"os": "ios"}}, {("device", "o"), ("device.os", "sios")}),
        ({"tags": ["x", "x", {"y": 1}]}, {("tags", "l"), ("tags", "esx")}),
        ({"tags": list(range(65))}, {("tags", "l"), ("tags", "e*")}),
        ({"a.b": 1, "": 1}, set()),
        ({"n": "x" * 100}, {("n", "s" + "x" * 64)}),
        ({"k" * 200: None}, {("k" * 128, "z")}),
    ],
    ids=["an object", "a list", "a long list", "keys that no path names", "a long text", "a long path"],
)
def test_metadata_is_indexed_by_path_and_value(metadata: JsonObject, expected: set[tuple[str, str]]) -> None:
    assert terms(metadata) == expected


def test_candidates_are_in_creation_order_only_if_they_share_one_term() -> None:
    (exact,) = candidates(Condition(("a",), Operator.EQ, 1))
    (several,) = candidates(Condition(("a",), Operator.IN, [1, 2]))
    assert exact.one_term is not None
    assert several.one_term is None
