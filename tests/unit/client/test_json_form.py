"""`to_dict()` and `to_json()` of every model."""

from __future__ import annotations

import dataclasses
import inspect
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

import sessions_client
from sessions_client import (
    Context,
    Event,
    EventType,
    History,
    Message,
    RecordName,
    Scope,
    Session,
    SessionConfig,
    SessionData,
    SessionState,
    StateChangeData,
    StateChangeReason,
    StreamState,
    StreamStatus,
    Unavailable,
)
from sessions_client._json_form import Model

NOON = datetime(2026, 1, 2, 12, 0, 0, 500_000, tzinfo=timezone(timedelta(hours=2)))
MESSAGE = Message(id="m", sequence=2, role="user", content="Hé", payload=b"\0\1", timestamp=NOON)


def test_a_session_has_the_protos_names_and_plain_values() -> None:
    form = Session(
        id="s", user_id="u", state=SessionState.ACTIVE, config=SessionConfig(timeout=90), create_time=NOON
    ).to_dict()
    assert (form["id"], form["state"], form["create_time"]) == ("s", "active", "2026-01-02T10:00:00.500000Z")
    assert form["config"] == {"timeout": 90, "max_messages": None, "context_window": None, "overflow": None}
    assert type(form["state"]) is str
    assert form["end_time"] is None


def test_a_message_keeps_its_text_and_its_bytes() -> None:
    assert json.loads(MESSAGE.to_json())["payload"] == "AAE="
    assert "Hé" in MESSAGE.to_json()
    assert MESSAGE.to_json(indent=2).count("\n") == len(MESSAGE.to_dict()) + 1


@pytest.mark.parametrize(
    ("kind", "data", "form"),
    [
        (EventType.MESSAGE, MESSAGE, MESSAGE.to_dict()),
        (
            EventType.STATE_CHANGE,
            StateChangeData(
                state=SessionState.PAUSED,
                previous_state=SessionState.ACTIVE,
                reason=StateChangeReason.CALLER,
            ),
            {"state": "paused", "previous_state": "active", "reason": "caller"},
        ),
    ],
)
def test_an_events_data_has_the_name_of_its_type(kind: EventType, data: Any, form: Any) -> None:
    event = Event(session_id="s", sequence=3, type=kind, time=None, request_id="", erased=False, data=data)
    assert event.to_dict() == {
        "session_id": "s",
        "sequence": 3,
        "type": kind.value,
        "time": None,
        "request_id": "",
        "erased": False,
        kind.value: form,
    }


def test_containers_include_their_attributes() -> None:
    assert Context({"a": 1}, etag="4").to_dict() == {"data": {"a": 1}, "etag": "4", "update_time": None}
    assert Context(etag="4", value=None, has_value=True).to_dict()["value"] is None
    assert History([MESSAGE], has_more=True).to_dict() == {"messages": [MESSAGE.to_dict()], "has_more": True}
    name = RecordName(Scope(user_id="u"), ["a", "b"], "k")
    assert name.to_dict()["collection"] == ["a", "b"]
    status = StreamStatus(
        state=StreamState.RECONNECTING, since=NOON.astimezone(UTC), error=Unavailable("Gone.")
    )
    assert status.to_dict() == {
        "state": "reconnecting",
        "since": "2026-01-02T10:00:00.500000Z",
        "error": "Gone.",
    }


def test_every_model_has_both() -> None:
    public = [getattr(sessions_client, name) for name in sessions_client.__all__]
    models: list[type] = [it for it in public if inspect.isclass(it) and dataclasses.is_dataclass(it)]
    without: set[type] = {sessions_client.TLS, sessions_client.Pager}
    assert len(models) > 20
    for model in {*models, Context, History, SessionData} - without:
        assert issubclass(model, Model), model
