"""Exports, their JSON, and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from sessions_client import InvalidArgument, SessionData
from sessions_client._convert._json import fill_struct
from sessions_client._convert._transfer import import_requests
from sessions_client._session_data import records_of, session_data_of
from sessions_proto.v1 import sessions_pb2 as pb


def records() -> list[pb.ExportRecord]:
    header = pb.ExportRecord()
    session = header.header.session
    header.header.version = 1
    header.header.export_time.FromNanoseconds(1_704_067_200_123_456_789)
    session.id, session.user_id, session.state = "s", "u", pb.SESSION_STATE_ENDED
    session.last_sequence = 2**60
    session.config.timeout.FromNanoseconds(1_500_000_000)
    session.storage_options.encryption = True
    fill_struct(session.metadata, {"a": [1, 2.5, None, True, {"b": "\u0000ü"}]}, field="metadata")
    context = pb.ExportRecord()
    fill_struct(context.context.data, {"zero": -0.0, "deep": {"er": []}}, field="context")
    batches = [
        pb.ExportRecord(
            messages=pb.ExportMessages(messages=[pb.Message(id=f"m{n}", sequence=n, role="user")])
        )
        for n in (1, 2)
    ]
    batches[0].messages.messages[0].timestamp.FromNanoseconds(-1)
    batches[0].messages.messages[0].data.SetInParent()
    kept = pb.ExportRecord()
    record = kept.records.records.add(value=b"\xff", value_type="text/plain", etag="e")
    record.name.scope.session_id, record.name.key = "s", "k"
    record.name.collection.extend(["carts", "2026"])
    footer = pb.ExportRecord(footer=pb.ExportFooter(message_count=2, record_count=5, sha256=bytes(range(32))))
    return [header, context, *batches, kept, footer]


def test_an_export_shows_its_content() -> None:
    data = SessionData(records())
    assert data.version == 1
    assert data.session.state == "ended"
    assert data.context == {"zero": 0, "deep": {"er": []}}
    assert [message.id for message in data.messages] == ["m1", "m2"]
    assert data.export_time == datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert "'s'" in repr(data)


@pytest.mark.parametrize(
    "form",
    [str, str.encode, lambda text: bytearray(text.encode()), json.loads],
    ids=["text", "bytes", "bytearray", "dict"],
)
def test_its_json_restores_every_bit(form: Any) -> None:
    data = SessionData(records())
    back = SessionData.from_json(form(data.to_json(indent=2)))
    assert back == data
    originals = [record.SerializeToString(deterministic=True) for record in records()]
    assert [record.SerializeToString(deterministic=True) for record in records_of(back)] == originals


def test_an_enum_value_of_a_later_server_survives() -> None:
    originals = records()
    originals[0].header.session.config.overflow = 77  # type: ignore[assignment]  # not a value of today's enum
    assert SessionData.from_json(SessionData(originals).to_json()) == SessionData(originals)


def test_an_import_sends_the_records_unchanged_and_the_target_once() -> None:
    requests = import_requests("target", records=records(), if_exists="fail", request_id="r")
    assert [request.record for request in requests] == records()
    assert (requests[0].session_id, requests[0].if_exists, requests[0].request_id) == (
        "target",
        pb.IF_EXISTS_FAIL,
        "r",
    )
    assert not any(request.session_id for request in requests[1:])


def altered(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(SessionData(records()).to_json())
    document["records"][0] |= changes
    return document


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param("{", "not valid JSON", id="no JSON"),
        pytest.param("[]", "JSON object", id="not an object"),
        pytest.param("[" * 100_000, "not valid JSON", id="deep nesting"),
        pytest.param("{}", "is not an export", id="another document"),
        pytest.param({"format": "sessions.v1.export", "records": []}, "header", id="no records"),
        pytest.param(
            {"format": "sessions.v1.export", "records": [{"context": {}}]}, "header", id="no header"
        ),
        pytest.param(
            {"format": "sessions.v1.export", "records": [1]}, r"records\.0: must be a dict", id="no record"
        ),
        pytest.param(5, "must be a SessionData or its JSON", id="another type"),
        pytest.param(
            altered(header={"verzion": 1}),
            r"records\.0\.header\.verzion: is not a known key",
            id="unknown field",
        ),
        pytest.param(altered(header={"version": "one"}), r"header\.version", id="text for a number"),
        pytest.param(altered(header={"version": 2**40}), r"header\.version", id="a number too large"),
        pytest.param(altered(header={"export_time": "noon"}), "RFC 3339", id="no time"),
        pytest.param(
            altered(header={"session": {"state": "ACTIVE"}}), r"session\.state", id="no name of the enum"
        ),
        pytest.param(altered(header={"session": {"config": {"timeout": 3600}}}), "3600s", id="no span"),
        pytest.param(altered(footer={"sha256": "*"}), "base64", id="no base64"),
        pytest.param(altered(footer={"sha256": 1}), "base64", id="a number for bytes"),
        pytest.param(altered(messages={"messages": {}}), "must be a list", id="an object for a list"),
    ],
)
def test_anything_that_is_not_an_export_is_refused(given: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        session_data_of(given)
