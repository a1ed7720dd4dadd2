"""Context paths: parsing, lookup, and the results of operations."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from sessions_server.domain.context import (
    MISSING,
    Append,
    Change,
    Increment,
    Merge,
    Operation,
    Remove,
    Set,
    apply,
    format_path,
    lookup,
    measure,
    parse_path,
)
from sessions_server.domain.errors import PathConflict

if TYPE_CHECKING:
    from sessions_server.domain.models import Json, JsonObject

scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5)
values: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=4), values, max_size=4)


def change(path: str, operation: Operation) -> Change:
    return Change(path, parse_path(path), operation)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ()),
        ("a", ("a",)),
        ("items.0.name", ("items", "0", "name")),
        ("/a.b/c", ("a.b", "c")),
        ("/a~1b/~0", ("a/b", "~")),
        ("/", ("",)),
        ("__proto__", ("__proto__",)),
    ],
)
def test_a_path_is_dotted_or_a_json_pointer(text: str, path: tuple[str, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize("text", [".", "a..b", "a.", ".a", "/a/~2", "/~", ".".join("a" * 5000)])
def test_a_malformed_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        parse_path(text)


@given(st.lists(st.text(max_size=4), min_size=1, max_size=6))
def test_a_formatted_path_reads_back_as_itself(parts: list[str]) -> None:
    assert parse_path(format_path(tuple(parts))) == tuple(parts)


@pytest.mark.parametrize(
    ("before", "made", "after"),
    [
        pytest.param({}, change("a.b", Set(1)), {"a": {"b": 1}}, id="set creates parents"),
        pytest.param({"a": [1, 2]}, change("a.1", Set(9)), {"a": [1, 9]}, id="set replaces an item"),
        pytest.param({"a": 1}, change("a", Set(None)), {"a": None}, id="set stores null"),
        pytest.param({"a": 1, "b": 2}, change("a", Remove()), {"b": 2}, id="remove takes a key out"),
        pytest.param(
            {"b": 2}, change("a.x", Remove()), {"b": 2}, id="remove of what is missing changes nothing"
        ),
        pytest.param({"a": [1, 2]}, change("a.0", Remove()), {"a": [2]}, id="remove takes an item out"),
        pytest.param({}, change("n.c", Increment(2)), {"n": {"c": 2}}, id="increment starts at zero"),
        pytest.param({"n": 1}, change("n", Increment(0.5)), {"n": 1.5}, id="increment adds"),
        pytest.param({"n": 1.5}, change("n", Increment(0.5)), {"n": 2}, id="an integral sum is an integer"),
        pytest.param({}, change("l", Append("x")), {"l": ["x"]}, id="append starts a list"),
        pytest.param({"l": [1]}, change("l", Append([2])), {"l": [1, [2]]}, id="append adds one item"),
        pytest.param(
            {"a": {"x": 1}}, change("", Merge({"a": {"y": 2}})), {"a": {"y": 2}}, id="merge is shallow"
        ),
        pytest.param({"a": 1}, change("", Merge({"b": None})), {"a": 1, "b": None}, id="merge stores null"),
        pytest.param(
            {"a": {"x": 1}}, change("a", Merge({"y": 2})), {"a": {"x": 1, "y": 2}}, id="merge below"
        ),
    ],
)
def test_the_result_of_an_operation(before: JsonObject, made: Change, after: JsonObject) -> None:
    kept = copy.deepcopy(before)
    assert apply(before, [made]) == after
    assert before == kept, "the object before is not touched"


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(change("s.x", Set(1)), id="through a text"),
        pytest.param(change("s.x", Remove()), id="remove through a text"),
        pytest.param(change("l.2", Set(1)), id="past the end"),
        pytest.param(change("l.2", Remove()), id="remove past the end"),
        pytest.param(change("l.x", Set(1)), id="a key in a list"),
        pytest.param(change("l.01", Set(1)), id="an index with a leading zero"),
        pytest.param(change("s", Increment(1)), id="increment a text"),
        pytest.param(change("t", Increment(1)), id="increment a truth"),
        pytest.param(change("n", Increment(2**53)), id="a sum that is not exact"),
        pytest.param(change("s", Append(1)), id="append to a text"),
        pytest.param(change("l", Merge({})), id="merge into a list"),
    ],
)
def test_an_operation_that_does_not_fit_is_refused_and_named(made: Change) -> None:
    data: JsonObject = {"s": "text", "l": [1, 2], "t": True, "n": 1}
    with pytest.raises(PathConflict) as caught:
        apply(data, [change("fine", Set(1)), made])
    assert caught.value.metadata == {"change": "1"}
    assert data == {"s": "text", "l": [1, 2], "t": True, "n": 1}


def test_an_index_of_any_length_is_past_the_end() -> None:
    for index in ("2", "9" * 9, "9" * 10, "9" * 5000):
        with pytest.raises(PathConflict, match="past the end"):
            apply({"l": [1, 2]}, [change(f"l.{index}", Remove())])


@given(objects, st.lists(st.text(max_size=3), min_size=1, max_size=4), values)
def test_set_values_are_found_and_removed_ones_are_not(
    data: JsonObject, parts: list[str], value: Json
) -> None:
    path = tuple(parts)
    try:
        written = apply(data, [Change("", path, Set(value))])
    except PathConflict:
        return
    assert lookup(written, path) == value
    parent = lookup(written, path[:-1])
    removed = apply(written, [Change("", path, Remove())])
    if isinstance(parent, dict):
        assert lookup(removed, path) is MISSING


@given(objects)
def test_measure_counts_every_key_and_level(data: JsonObject) -> None:
    def keys(value: Json) -> int:
        if isinstance(value, dict):
            return len(value) + sum(keys(item) for item in value.values())
        return sum(keys(item) for item in value) if isinstance(value, list) else 0

    def depth(value: Json) -> int:
        if isinstance(value, (dict, list)):
            return 1 + max(
                (depth(item) for item in (value.values() if isinstance(value, dict) else value)), default=0
            )
        return 0

    assert measure(data) == (keys(data), depth(data))
