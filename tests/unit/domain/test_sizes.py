"""The limits of a context, whatever its shape."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from sessions_server.domain.context import measure
from sessions_server.domain.errors import InvalidRequest, LimitExceeded
from sessions_server.domain.limits import MAX_DEPTH, Limits
from sessions_server.domain.models import Json, JsonObject
from sessions_server.domain.sizes import check_context

texts = st.text('{}[]:"\\ab', max_size=4)
values: st.SearchStrategy[Json] = st.recursive(
    texts | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_a_context_has_as_many_keys_at_all_levels_as_allowed(data: JsonObject) -> None:
    keys, _ = measure(data)
    check_context(data, replace(Limits(), context_keys=keys))
    if keys:
        with pytest.raises(LimitExceeded, match=f"at most {keys - 1} keys"):
            check_context(data, replace(Limits(), context_keys=keys - 1))


@pytest.mark.parametrize("innermost", [{}, []])
def test_a_context_nests_as_deep_as_allowed(innermost: Json) -> None:
    value = innermost
    for _ in range(MAX_DEPTH - 1):
        value = {"a": value}
    assert isinstance(value, dict)
    check_context(value, Limits())
    with pytest.raises(InvalidRequest, match=f"at most {MAX_DEPTH} levels"):
        check_context({"a": value}, Limits())
