"""Conversion of JSON values to the wire and back."""

from __future__ import annotations

import math
from decimal import Decimal
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from google.protobuf import struct_pb2
from hypothesis import given, strategies as st

from sessions_client import InvalidArgument
from sessions_client._convert._json import (
    MAX_SAFE_INTEGER,
    fill_struct,
    fill_value,
    number,
    read_struct,
    read_value,
)
from tests.support.structs import nested

numbers = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.floats(-1e15, 1e15) | st.floats(-1e-3, 1e-3)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def through_the_wire(data: Any) -> dict[str, Any]:
    struct = struct_pb2.Struct()
    fill_struct(struct, data, field="context")
    return read_struct(struct_pb2.Struct.FromString(struct.SerializeToString()))


def refusal(data: Any) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        through_the_wire(data)
    return caught.value


@given(st.dictionaries(texts, values, max_size=5))
def test_values_come_back_equal(data: dict[str, Any]) -> None:
    assert through_the_wire(data) == data


@pytest.mark.parametrize("value", [0, 1, -1, MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER])
def test_integers_come_back_as_integers(value: int) -> None:
    back = through_the_wire({"n": value})["n"]
    assert back == value
    assert type(back) is int


def test_a_negative_zero_keeps_its_sign() -> None:
    assert math.copysign(1.0, through_the_wire({"n": -0.0})["n"]) == -1.0


def test_an_empty_object_and_an_empty_list_are_not_null() -> None:
    assert through_the_wire({"a": {}, "b": [], "c": None}) == {"a": {}, "b": [], "c": None}


def test_a_value_without_a_kind_is_null() -> None:
    assert read_value(struct_pb2.Value()) is None


def test_subclasses_of_json_types_are_their_json_type() -> None:
    class Colour(StrEnum):
        RED = "red"

    class Size(IntEnum):
        BIG = 3

    data = {"c": Colour.RED, "s": Size.BIG, "t": (1, 2), "m": MappingProxyType({"k": True})}
    assert through_the_wire(data) == {"c": "red", "s": 3, "t": [1, 2], "m": {"k": True}}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(2**53, "send it as a string", id="an integer that has a double for a neighbour"),
        pytest.param(-(2**53), "send it as a string", id="its negative"),
        pytest.param(10**400, "send it as a string", id="an integer that no double comes near"),
        pytest.param(1e300, "send it as a string", id="an integral double"),
        pytest.param(math.nan, "NaN", id="not a number"),
        pytest.param(math.inf, "infinite", id="infinity"),
        pytest.param(-math.inf, "infinite", id="negative infinity"),
        pytest.param(Decimal(1), "Decimal", id="a decimal"),
        pytest.param(b"x", "bytes", id="bytes"),
        pytest.param({1, 2}, "set", id="a set"),
        pytest.param("\ud800", "surrogate", id="half a surrogate pair"),
        pytest.param({1: "a"}, "keys must be strings", id="a key that is no string"),
        pytest.param({"\udfff": 1}, "surrogate", id="a key with half a surrogate pair"),
    ],
)
def test_values_that_json_cannot_hold_are_refused_with_their_path(value: object, words: str) -> None:
    error = refusal({"user_input": {"items": ["fine", {"x": value}]}})
    assert words in str(error)
    assert error.violations[0].field.startswith("context.user_input.items.1.x")
    assert error.reason == "INVALID_REQUEST"


def test_32_levels_are_accepted_and_33_refused() -> None:
    assert through_the_wire(nested(32)) == nested(32)
    assert "deeper than 32" in str(refusal(nested(33)))


def test_lists_count_as_levels() -> None:
    data: Any = []
    for _ in range(31):
        data = [data]
    assert "deeper than 32" in str(refusal({"a": data}))


def test_a_circle_is_refused_as_too_deep() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    assert "deeper than 32" in str(refusal(circle))


@pytest.mark.parametrize("data", [[1], "x", None, 3])
def test_only_objects_are_objects(data: object) -> None:
    assert str(refusal(data)).startswith("context: must be a dict")


@pytest.mark.parametrize(
    ("value", "words"), [("\ud800", "surrogate"), (math.nan, "NaN"), ([[object()]], "object")]
)
def test_a_value_at_a_path_is_checked_in_the_same_way(value: object, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        fill_value(struct_pb2.Value(), value, field="changes.0.set")


@pytest.mark.parametrize("value", [True, "1", None, math.nan, 2**53])
def test_an_increment_must_be_a_number_that_a_double_holds(value: object) -> None:
    with pytest.raises(InvalidArgument, match=r"changes\.0\.increment"):
        number(value, field="changes.0.increment")


def test_keys_come_in_one_order_in_every_process() -> None:
    struct = struct_pb2.Struct()
    for key in ("b", "é", "a", "B", "10", "9"):
        nested = struct.fields[key].struct_value
        for inner in ("z", "y"):
            nested.fields[inner].bool_value = True
    data = read_struct(struct)
    assert list(data) == sorted(data)
    assert [list(nested) for nested in data.values()] == [["y", "z"]] * 6
