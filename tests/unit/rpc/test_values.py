"""JSON values: accepted values come back equal, and what a double cannot hold is refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import pytest
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import given, strategies as st

from sessions_server.domain.jsonbytes import dumps
from sessions_server.domain.limits import MAX_SAFE_INTEGER, Limits
from sessions_server.domain.sizes import GROWTH, struct_bytes
from sessions_server.rpc.convert.values import Refuse, put_object, read_struct
from tests.support.structs import nested, numbered, struct
from tests.unit.rpc.build import FULL_OBJECT

if TYPE_CHECKING:
    from sessions_server.domain.models import JsonObject

scalars = (
    st.none()
    | st.booleans()
    | st.text()
    | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.floats(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def refused(struct: Struct, *, searched: bool = False) -> list[str]:
    sentences: list[str] = []
    read_struct(struct, Refuse(sentences.append, searched=searched))
    return sentences


def through_the_wire(value: JsonObject) -> JsonObject:
    struct = Struct()
    put_object(struct, value)
    sentences: list[str] = []
    read = read_struct(Struct.FromString(struct.SerializeToString()), Refuse(sentences.append))
    assert sentences == []
    return read


@given(st.dictionaries(st.text(), values, max_size=5))
def test_every_accepted_object_comes_back_equal(value: JsonObject) -> None:
    assert through_the_wire(value) == value


@given(st.dictionaries(st.text(), values, max_size=5))
def test_the_size_of_a_struct_is_known_without_building_it(value: JsonObject) -> None:
    struct = Struct()
    put_object(struct, value)
    assert struct_bytes(value) == struct.ByteSize() <= GROWTH * len(dumps(value))


@pytest.mark.parametrize("count", [0, 1, 11, 12, 127, 128, 1_488, 1_489, 16_384, 200_000])
def test_lists_and_strings_of_every_length_are_measured_exactly(count: int) -> None:
    for value in (cast("JsonObject", {"l": [0] * count}), cast("JsonObject", {"é" * count: "é" * count})):
        struct = Struct()
        put_object(struct, value)
        assert struct_bytes(value) == struct.ByteSize() <= GROWTH * len(dumps(value))


def test_long_lists_of_every_kind_are_measured_exactly() -> None:
    kinds: list[Any] = [
        0,
        -1.5,
        True,
        None,
        "",
        "é",
        "x" * 200,
        {"a": [None] * 20},
        [],
        [0] * 20,
        [[0]] * 20,
        {},
    ]
    for items in (kinds * 3, [kinds * 2] * 17, *([kind] * 40 for kind in kinds)):
        struct, value = Struct(), cast("JsonObject", {"l": items})
        put_object(struct, value)
        assert struct_bytes(value) == struct.ByteSize()


def test_the_largest_message_fits_into_a_response() -> None:
    limits, numbers = Limits(), cast("JsonObject", {"l": [0] * 100_000})
    growth = struct_bytes(numbers) / len(dumps(numbers))
    values = growth * (limits.data_bytes + limits.metadata_bytes)
    assert limits.content_bytes + values < limits.wire_bytes < limits.answer_bytes


def test_a_negative_zero_is_kept_except_where_databases_search() -> None:
    kept = through_the_wire({"n": -0.0, "p": 0.0})
    assert (repr(kept["n"]), repr(kept["p"])) == ("-0.0", "0")
    searched = read_struct(numbered(-0.0), Refuse(pytest.fail, searched=True))
    assert repr(searched["n"]) == "0"


def test_integral_numbers_come_back_as_int_and_others_as_float() -> None:
    read = through_the_wire({"i": 3, "f": 3.5, "whole": 3.0, "yes": True})
    assert {key: type(value) for key, value in read.items()} == {
        "i": int,
        "f": float,
        "whole": int,
        "yes": bool,
    }


def test_an_empty_object_and_an_empty_list_are_preserved() -> None:
    assert through_the_wire({"o": {}, "l": []}) == {"o": {}, "l": []}


def test_strings_may_contain_nul_where_allowed() -> None:
    value: JsonObject = {"a\0b": "c\0d"}
    assert through_the_wire(value) == value


@pytest.mark.parametrize(
    "number",
    [math.nan, math.inf, -math.inf, 2.0**53, -(2.0**53), 1e300],
)
def test_a_number_that_a_double_cannot_hold_exactly_is_refused(number: float) -> None:
    (sentence,) = refused(numbered(number))
    assert "as a string" in sentence


@pytest.mark.parametrize("number", [MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER, 0.1, 5e-324, 1e15 + 0.5])
def test_a_number_that_a_double_holds_exactly_is_accepted(number: float) -> None:
    assert refused(numbered(number)) == []


def test_json_may_nest_32_levels_and_no_more() -> None:
    assert refused(struct(nested(32))) == []
    assert any("levels" in sentence for sentence in refused(struct(nested(33))))


def test_lists_count_as_levels_too() -> None:
    value = Value(list_value=ListValue())
    for _ in range(31):
        value = Value(list_value=ListValue(values=[value]))
    assert any("levels" in sentence for sentence in refused(Struct(fields={"a": value})))


def test_a_value_without_a_kind_is_refused() -> None:
    assert len(refused(Struct(fields={"a": Value()}))) == 1


def test_a_null_that_its_enum_does_not_have_is_refused() -> None:
    assert len(refused(Struct(fields={"a": Value.FromString(b"\x08\x07")}))) == 1


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"a\0": "x"}, id="in a key"),
        pytest.param({"a": "x\0"}, id="in a value"),
        pytest.param({"a": {"b\0": 1}}, id="in a deep key"),
        pytest.param({"a": ["x\0"]}, id="in a list"),
    ],
)
def test_searchable_strings_may_not_contain_nul(value: dict[str, Any]) -> None:
    struct = Struct()
    put_object(struct, value)
    assert any("U+0000" in sentence for sentence in refused(struct, searched=True))


def test_an_object_is_present_on_the_wire_even_if_it_is_empty() -> None:
    value = Value()
    put_object(value.struct_value, {})
    assert value.HasField("struct_value")


def test_conversion_does_not_modify_its_input() -> None:
    before = repr(FULL_OBJECT)
    put_object(Struct(), FULL_OBJECT)
    assert repr(FULL_OBJECT) == before
