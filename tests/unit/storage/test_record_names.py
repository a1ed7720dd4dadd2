"""The stored names of records: unique, reversible, and ordered like the names."""

from __future__ import annotations

from hypothesis import given, strategies as st

from sessions_server.storage.record_names import (
    beginning_with,
    between,
    decode,
    encode,
    is_exact,
    name_hash,
    path_of,
    stored_collection,
    within,
)

ODD = st.sampled_from(["\x01", "\x02", "\x03", "a", "\ud7ff", "\ue000", "\U0010ffff"])
TEXT = st.text(st.one_of(ODD, st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=6)
PART = TEXT.filter(bool)
PATH = st.lists(PART, max_size=4).map(tuple)
LONG = st.lists(st.text(ODD, min_size=40, max_size=256), min_size=1, max_size=16).map(tuple)


def is_between(text: str, low: str, high: str) -> bool:
    return low <= text < high


@given(PATH, PATH)
def test_encodings_are_reversible_and_ordered_like_the_paths(
    one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    assert decode(encode(one)) == one
    assert (encode(one) < encode(other)) is (one < other)


@given(PATH, PATH)
def test_nested_collections_are_within_the_bounds(outer: tuple[str, ...], path: tuple[str, ...]) -> None:
    assert is_exact(outer)
    assert is_between(stored_collection(path).short, *within(outer)) is (path[: len(outer)] == outer)
    assert is_between(stored_collection(outer + path).short, *within(outer))


@given(LONG, LONG)
def test_overlong_paths_are_shortened_and_stay_unique(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    stored = stored_collection(one)
    assert len(stored.short.encode()) <= 384
    assert path_of(*stored) == one
    assert (stored.short == stored_collection(other).short) is (one == other)
    assert is_between(stored.short, *within(one))
    assert is_between(stored.short, *within(one[:1]))


@given(TEXT, TEXT)
def test_bounds_contain_exactly_the_strings_with_the_prefix(prefix: str, text: str) -> None:
    low, high = beginning_with(prefix)
    assert is_between(text, low, high) is text.startswith(prefix)
    assert is_between(prefix + text, low, high)


@given(TEXT, TEXT, TEXT, TEXT)
def test_keys_are_bounded_from_both_sides(prefix: str, after: str, before: str, text: str) -> None:
    wanted = text.startswith(prefix) and (not after or text > after) and (not before or text < before)
    assert is_between(text, *between(prefix, after, before)) is wanted


def test_hashes_depend_on_where_a_collection_ends_and_a_key_begins() -> None:
    assert name_hash("a", "bc") != name_hash("ab", "c")
