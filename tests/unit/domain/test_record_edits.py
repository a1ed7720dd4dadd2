"""What the operations and conditions of a commit do to records, decided without a store."""

from __future__ import annotations

import pytest

from sessions_server.domain.errors import LimitExceeded
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import Micros, SessionKey
from sessions_server.domain.records import (
    RecordBook,
    RecordCondition,
    RecordDelete,
    RecordEdits,
    RecordHead,
    RecordName,
    RecordNeeds,
    RecordPut,
    RecordResult,
    RecordState,
    Scope,
    record_needs,
)

NOW = Micros(1_000_000)
BEFORE = Micros(500_000)
SESSION = Scope("t", session_id="s")


def name(key: str, *collection: str, scope: Scope = SESSION) -> RecordName:
    return RecordName(scope, collection or ("c",), key)


def edits(*keys: str, limits: Limits | None = None) -> RecordEdits:
    """On a store that holds these keys, each with its key as the etag."""
    stored = {name(key): RecordHead(key, BEFORE) for key in keys}
    return RecordEdits(stored, NOW, limits or Limits())


def test_a_put_creates_a_record_with_the_times_of_the_commit() -> None:
    subject = edits()
    assert subject.put(RecordPut(name("a"), b"1", "e1", ttl=Micros(7))) == RecordResult("e1")
    [change] = subject.changes
    assert change.etag == "e1"
    assert change.record is not None
    assert change.record.time == change.record.create_time == change.record.update_time == NOW
    assert change.record.expire_time == NOW + 7


def test_a_put_replaces_all_but_the_time_of_creation() -> None:
    subject = edits("a")
    subject.put(RecordPut(name("a"), b"2", "e2", time=Micros(3)))
    [change] = subject.changes
    assert change.record is not None
    assert (change.record.create_time, change.record.update_time, change.record.time) == (BEFORE, NOW, 3)
    assert change.record.expire_time is None


def test_if_absent_keeps_what_is_there() -> None:
    subject = edits("a")
    assert subject.put(RecordPut(name("a"), b"2", "e2", if_absent=True)) == RecordResult("a", kept=True)
    assert subject.changes == ()
    assert subject.put(RecordPut(name("b"), b"1", "e1", if_absent=True)) == RecordResult("e1")
    assert subject.put(RecordPut(name("b"), b"2", "e2", if_absent=True)) == RecordResult("e1", kept=True)


def test_the_last_of_several_changes_of_a_record_is_what_they_come_to() -> None:
    subject = edits("a")
    subject.put(RecordPut(name("a"), b"2", "e2"))
    assert subject.delete(RecordDelete(name("a"))) == 1
    assert subject.delete(RecordDelete(name("a"))) == 0
    [change] = subject.changes
    assert (change.etag, change.record) == ("e2", None)


def test_a_record_that_came_and_went_within_a_commit_is_not_a_change() -> None:
    subject = edits()
    subject.put(RecordPut(name("a"), b"1", "e1"))
    assert subject.delete(RecordDelete(name("a"))) == 1
    assert subject.changes == ()


def test_a_prefix_deletes_its_keys_of_its_collection_only() -> None:
    other = name("ab", "other")
    stored = {each: RecordHead("e", BEFORE) for each in (name("a"), name("ab"), name("b"), other)}
    subject = RecordEdits(stored, NOW, Limits())
    subject.put(RecordPut(name("abc"), b"1", "e1"))
    assert subject.delete(RecordDelete(name("a"), prefix=True)) == 3
    assert [change.name for change in subject.changes] == [name("a"), name("ab")]
    assert subject.head(name("abc")) is None
    assert subject.head(name("b")) is not None
    assert subject.head(other) is not None


def test_a_prefix_of_too_many_records_is_refused() -> None:
    limits = Limits(records_per_delete=2)
    assert edits("a", "b", limits=limits).delete(RecordDelete(name(""), prefix=True)) == 2
    with pytest.raises(LimitExceeded, match="at most 2 records"):
        edits("a", "b", "c", limits=limits).delete(RecordDelete(name(""), prefix=True))


@pytest.mark.parametrize(
    ("state", "etag", "of_stored", "of_missing"),
    [
        (RecordState.ABSENT, "", False, True),
        (RecordState.PRESENT, "", True, False),
        (RecordState.UNCHANGED, "a", True, False),
        (RecordState.UNCHANGED, "b", False, False),
    ],
)
def test_conditions_look_at_what_is_there(
    state: RecordState, etag: str, of_stored: bool, of_missing: bool
) -> None:
    subject = edits("a")
    assert subject.holds(RecordCondition(name("a"), state, etag)) is of_stored
    assert subject.holds(RecordCondition(name("b"), state, etag)) is of_missing


def test_needs_are_the_names_and_prefixes() -> None:
    needs = record_needs(
        [RecordCondition(name("c"), RecordState.ABSENT)],
        [RecordPut(name("p"), b"", "e"), RecordDelete(name("d")), RecordDelete(name("x"), prefix=True)],
    )
    assert needs == RecordNeeds(frozenset({name("c"), name("p"), name("d")}), frozenset({name("x")}))
    assert needs | RecordNeeds(frozenset({name("q")})) == RecordNeeds(
        needs.names | {name("q")}, needs.prefixes
    )
    assert needs
    assert not RecordNeeds()


def test_a_book_keeps_the_last_change_and_forgets_an_erased_session() -> None:
    shared = name("u", scope=Scope("t", user_id="u"))
    book = RecordBook({name("a"): RecordHead("a", BEFORE), shared: RecordHead("u", BEFORE)})
    first = RecordEdits(book.heads, NOW, Limits())
    first.put(RecordPut(name("a"), b"1", "e1"))
    first.delete(RecordDelete(shared))
    book.take(first.changes)
    assert book.heads == {name("a"): RecordHead("e1", BEFORE)}
    book.erase(SessionKey("t", "s"))
    assert book.heads == {}
    assert [change.name for change in book.changes.values()] == [shared]
