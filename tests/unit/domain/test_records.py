"""Operations and conditions of a commit on records, decided without a store."""

from __future__ import annotations

import pytest

from sessions_server.domain.errors import LimitExceeded
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import Micros, SessionKey
from sessions_server.domain.needs import Needs
from sessions_server.domain.records import (
    DeleteRecord,
    PutRecord,
    RecordChange,
    RecordHead,
    RecordIs,
    RecordName,
    Records,
    RecordsDeleted,
    RecordState,
    RecordWritten,
    Scope,
    change_from_json,
    change_json,
)

NOW = Micros(1_000_000)
BEFORE = Micros(500_000)
SESSION = Scope("t", session_id="s")
LIMITS = Limits()


def name(key: str, *collection: str, scope: Scope = SESSION) -> RecordName:
    return RecordName(scope, collection or ("c",), key)


def put(key: str, etag: str, *, if_absent: bool = False) -> PutRecord:
    return PutRecord(name(key), etag.encode(), {"l": etag}, etag, if_absent=if_absent)


def stored(*names: RecordName) -> Records:
    """Each record, with its key as the etag."""
    return Records({each: RecordHead(each.key, BEFORE, {}) for each in names})


def test_a_put_creates_a_record_with_the_times_of_the_commit() -> None:
    after, result = Records().put(put("a", "e1")._replace(ttl=Micros(7)), NOW)
    assert result == RecordWritten("e1")
    record = after.writes[name("a")]
    assert record is not None
    assert record.time == record.create_time == record.update_time == NOW
    assert record.expire_time == NOW + 7
    assert after.changes == (RecordChange(name("a"), "e1", deleted=False),)


def test_a_put_replaces_everything_except_the_creation_time() -> None:
    after, _ = stored(name("a")).put(put("a", "e2")._replace(time=Micros(3)), NOW)
    record = after.writes[name("a")]
    assert record is not None
    assert (record.create_time, record.update_time, record.time) == (BEFORE, NOW, 3)
    assert record.expire_time is None


def test_if_absent_keeps_an_existing_record() -> None:
    before = stored(name("a"))
    assert before.put(put("a", "e2", if_absent=True), NOW) == (before, RecordWritten("a", kept=True))
    once, first = before.put(put("b", "e1", if_absent=True), NOW)
    assert first == RecordWritten("e1")
    assert once.put(put("b", "e2", if_absent=True), NOW) == (once, RecordWritten("e1", kept=True))


def test_an_operation_does_not_modify_earlier_records() -> None:
    before = stored(name("a"))
    before.put(put("a", "e2"), NOW)
    before.delete(DeleteRecord(name("a")), LIMITS)
    assert before == stored(name("a"))


def test_a_commit_reports_the_last_of_several_writes_of_a_record() -> None:
    records, _ = stored(name("a")).put(put("a", "e2"), NOW)
    records, first = records.delete(DeleteRecord(name("a")), LIMITS)
    records, second = records.delete(DeleteRecord(name("a")), LIMITS)
    assert (first, second) == (RecordsDeleted(1), RecordsDeleted(0))
    assert records.changes == (RecordChange(name("a"), "a", deleted=True),)
    assert records.writes == {name("a"): None}


def test_a_record_created_and_deleted_within_a_commit_is_not_a_change() -> None:
    records, _ = Records().put(put("a", "e1"), NOW)
    records, result = records.delete(DeleteRecord(name("a")), LIMITS)
    assert result == RecordsDeleted(1)
    assert records.changes == ()


def test_a_commit_has_its_own_changes_and_a_transaction_those_of_all_its_commits() -> None:
    first, _ = Records().put(put("a", "e1"), NOW)
    second, _ = first.after_commit().put(put("b", "e2"), NOW)
    assert second.changes == (RecordChange(name("b"), "e2", deleted=False),)
    assert set(second.writes) == {name("a"), name("b")}
    assert second.after_commit().changes == ()


def test_a_prefix_deletes_its_keys_of_its_collection_only() -> None:
    other = name("ab", "other")
    records, _ = stored(name("a"), name("ab"), name("b"), other).put(put("abc", "e1"), NOW)
    records, result = records.delete(DeleteRecord(name("a"), prefix=True), LIMITS)
    assert result == RecordsDeleted(3)
    assert {change.name for change in records.changes} == {name("a"), name("ab")}
    assert set(records.heads) == {name("b"), other}


def test_a_prefix_of_too_many_records_is_refused() -> None:
    limits = Limits(records_per_delete=2)
    everything = DeleteRecord(name(""), prefix=True)
    assert stored(name("a"), name("b")).delete(everything, limits)[1] == RecordsDeleted(2)
    with pytest.raises(LimitExceeded, match="at most 2 records"):
        stored(name("a"), name("b"), name("c")).delete(everything, limits)


@pytest.mark.parametrize(
    ("state", "etag", "of_stored", "of_missing"),
    [
        (RecordState.ABSENT, "", "a", None),
        (RecordState.PRESENT, "", None, ""),
        (RecordState.UNCHANGED, "a", None, ""),
        (RecordState.UNCHANGED, "b", "a", ""),
    ],
)
def test_a_failed_condition_reports_the_current_etag(
    state: RecordState, etag: str, of_stored: str | None, of_missing: str | None
) -> None:
    records = stored(name("a"))
    assert records.refuses(RecordIs(name("a"), state, etag)) == of_stored
    assert records.refuses(RecordIs(name("b"), state, etag)) == of_missing


def test_operations_and_conditions_declare_what_must_be_read() -> None:
    needs = Needs()
    put("a", "e").need(needs)
    DeleteRecord(name("b")).need(needs)
    RecordIs(name("c"), RecordState.ABSENT).need(needs)
    DeleteRecord(name("p"), prefix=True).need(needs)
    assert needs.records == {name("a"), name("b"), name("c")}
    assert needs.prefixes == {name("p")}


def test_erasing_a_session_erases_its_records() -> None:
    shared = name("u", scope=Scope("t", user_id="u"))
    records, _ = stored(name("a"), shared).put(put("b", "e1"), NOW)
    records, _ = records.delete(DeleteRecord(shared), LIMITS)
    records = records.without_session(SessionKey("t", "s"))
    assert records.heads == {}
    assert records.writes == {shared: None}
    assert records.changes == (RecordChange(shared, "u", deleted=True),)
    assert records.erased == {SessionKey("t", "s")}


def test_a_change_survives_its_encoding() -> None:
    change = RecordChange(name("k", "a", "b", scope=Scope("t", user_id="u")), "e", deleted=True)
    raw = change_json(change)
    assert isinstance(raw, list)
    assert change_from_json("t", raw) == change
