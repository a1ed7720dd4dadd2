"""Metadata filters: what is accepted, and that nothing resembling an operator is mistaken for something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.errors import InvalidRequest
from sessions_server.domain.filters import Condition, Operator, parse_filter

if TYPE_CHECKING:
    from sessions_server.domain.models import JsonObject

MISPLACED: dict[str, JsonObject] = {
    "an unknown operator at the top": {"$or": [1]},
    "a known operator at the top": {"$eq": 1},
    "an operator as the first part of a path": {"$and.a": 1},
    "an operator in an object": {"a": {"b": {"$gt": 1}}},
    "an operator deep in an object": {"a": {"b": {"c": [{"$gt": 1}]}}},
    "an operator in a list": {"a": [{"$gt": 1}]},
    "an operator under $contains": {"a": {"$contains": {"$gt": 1}}},
    "an operator in an object under $contains": {"a": {"$contains": {"b": {"$eq": 1}}}},
    "an operator in a list under $contains": {"a": {"$contains": [{"$eq": 1}]}},
    "an operator beside a key": {"a": {"$gt": 1, "b": 2}},
    "an unknown operator": {"a": {"$or": 1}},
    "no path": {"": 1},
    "an empty part": {"a..b": 1},
    "a wrong escape": {"/a~2": 1},
}


@pytest.mark.parametrize("raw", MISPLACED.values(), ids=MISPLACED.keys())
def test_an_operator_in_the_wrong_place_is_refused(raw: JsonObject) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_filter(raw)
    ((field, sentence),) = caught.value.violations
    assert field == "metadata_filter"
    assert sentence.endswith(".")


def test_every_misplaced_operator_is_named_and_valid_conditions_are_not() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_filter({"$or": [1], "a": 1, "b": {"c": {"$gt": 1}}, "d": {"$gt": 1}})
    assert len(caught.value.violations) == 2


LITERALS: dict[str, tuple[JsonObject, Condition]] = {
    "$eq": ({"a": {"$eq": {"$gt": 1}}}, Condition(("a",), Operator.EQ, {"$gt": 1})),
    "$ne": ({"a": {"$ne": {"$gt": 1}}}, Condition(("a",), Operator.NE, {"$gt": 1})),
    "a list under $eq": ({"a": {"$eq": [{"$gt": 1}]}}, Condition(("a",), Operator.EQ, [{"$gt": 1}])),
    "a path": ({"$.$ref": 1}, Condition(("$", "$ref"), Operator.EQ, 1)),
    "a pointer": ({"/a.b/~1c/": 1}, Condition(("a.b", "/c", ""), Operator.EQ, 1)),
    "a dollar in a pointer": ({"/$or": 1}, Condition(("$or",), Operator.EQ, 1)),
    "a text": ({"a": {"b": "$gt"}}, Condition(("a",), Operator.CONTAINS, {"b": "$gt"})),
}


@pytest.mark.parametrize(("raw", "condition"), LITERALS.values(), ids=LITERALS.keys())
def test_values_starting_with_a_dollar_are_literal_in(raw: JsonObject, condition: Condition) -> None:
    assert parse_filter(raw) == (condition,)
