"""`SessionConfig` and `StorageOptions`: what they accept, and what an update changes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from datetime import timedelta
from typing import Any

import pytest

from sessions_client import (
    ExpiryAction,
    InvalidArgument,
    Message,
    Overflow,
    Persistence,
    Session,
    SessionConfig,
    StorageOptions,
)
from sessions_client._convert import _sessions
from sessions_proto.v1 import sessions_pb2 as pb

UPDATE: dict[str, Any] = {
    "metadata": None,
    "config": None,
    "storage_options": None,
    "update_mask": None,
    "etag": None,
    "request_id": None,
}
READ = _sessions.read_session(pb.Session(id="s"))


def mask(**given: Any) -> list[str]:
    return list(_sessions.update_request("s", **UPDATE | given).update_mask.paths)


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ({"metadata": {}}, ["metadata"]),
        ({"config": {"timeout": 60, "max_messages": None}}, ["config.timeout", "config.max_messages"]),
        ({"storage_options": {"ttl": 60}}, ["storage_options.ttl"]),
        ({"metadata": {"device": "tv"}, "update_mask": ["metadata.device"]}, ["metadata.device"]),
    ],
)
def test_an_update_names_exactly_what_is_given(given: Any, paths: list[str]) -> None:
    assert mask(**given) == paths


@pytest.mark.parametrize(
    "given", [{}, {"config": {}}, {"update_mask": []}, {"update_mask": "metadata"}, {"update_mask": 5}]
)
def test_an_update_of_nothing_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgument, match="update_mask"):
        mask(**given)


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ({"config": SessionConfig(context_window=3)}, ["config.context_window"]),
        ({"config": SessionConfig(overflow="reject")}, ["config.overflow"]),
        (
            {"config": dataclasses.replace(READ.config, timeout=timedelta(minutes=1))},
            ["config.timeout", "config.overflow"],
        ),
        ({"storage_options": StorageOptions(ttl=60)}, ["storage_options.ttl"]),
        ({"storage_options": StorageOptions(expiry_action="delete")}, ["storage_options.expiry_action"]),
        (
            {"storage_options": dataclasses.replace(READ.storage_options, ttl=timedelta(hours=1))},
            ["storage_options.ttl", "storage_options.expiry_action"],
        ),
        (
            {
                "storage_options": {"persistence": "permanent", "ttl": 60},
                "update_mask": ["storage_options.ttl"],
            },
            ["storage_options.ttl"],
        ),
    ],
)
def test_an_update_with_an_object_changes_what_was_given(given: Any, paths: list[str]) -> None:
    assert mask(**given) == paths


def test_a_dict_with_fixed_options_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="fixed when the session is created") as caught:
        mask(storage_options={"persistence": "permanent", "encryption": True, "ttl": 60})
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["storage_options.persistence", "storage_options.encryption"]


def test_an_object_without_changeable_options_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="names nothing to change"):
        mask(storage_options=StorageOptions(encryption=True))


def test_empty_option_objects_mean_the_defaults() -> None:
    create: dict[str, Any] = {"metadata": None, "session_id": None, "if_exists": None, "request_id": "r"}
    request = _sessions.create_request(
        "u", config=SessionConfig(), storage_options=StorageOptions(), **create
    )
    assert request.config == pb.SessionConfig()
    assert request.storage_options == pb.StorageOptions(persistence=pb.PERSISTENCE_PERMANENT)


def test_a_session_that_was_read_has_all_options_set() -> None:
    assert READ.config.overflow is Overflow.TRUNCATE_OLDEST
    assert READ.storage_options.persistence is Persistence.PERMANENT
    assert READ.storage_options.expiry_action is ExpiryAction.RETAIN


@pytest.mark.parametrize("span", [3600, 3600.0, timedelta(hours=1)])
def test_durations_are_seconds_or_timedeltas_and_become_timedeltas(span: Any) -> None:
    assert SessionConfig(timeout=span).timeout == timedelta(hours=1)
    assert StorageOptions(ttl=span).ttl == timedelta(hours=1)


def test_names_become_members() -> None:
    assert SessionConfig(overflow="reject").overflow is Overflow.REJECT
    options = StorageOptions(persistence="temporary", expiry_action="archive")
    assert (options.persistence, options.expiry_action) == (Persistence.TEMPORARY, ExpiryAction.ARCHIVE)


@pytest.mark.parametrize("span", [float("nan"), float("inf"), 1e300])
def test_an_invalid_duration_is_refused_by_the_constructor(span: float) -> None:
    with pytest.raises(InvalidArgument, match="timeout: must be a finite number"):
        SessionConfig(timeout=span)
    with pytest.raises(InvalidArgument, match="ttl: must be a finite number"):
        StorageOptions(ttl=span)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"config": SessionConfig(timeout="1h")}, "config.timeout"),  # type: ignore[arg-type]  # that is the test
        ({"config": SessionConfig(overflow="drop")}, "config.overflow"),  # type: ignore[arg-type]  # that is the test
        ({"storage_options": StorageOptions(ttl=True, expiry_action="x")}, "storage_options.ttl"),  # type: ignore[arg-type]  # that is the test
    ],
)
def test_invalid_options_are_refused_with_their_path_by_the_request(given: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        mask(**given)
    assert caught.value.violations[0].field == field


@pytest.mark.parametrize(
    "value", [SessionConfig(timeout=60, overflow="reject"), StorageOptions(ttl=60, encryption=True)]
)
def test_they_are_values(value: Any) -> None:
    assert copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == dataclasses.replace(value) == value
    assert len({value, copy.copy(value)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, None)


def test_sessions_and_messages_can_be_kept_in_sets() -> None:
    message = Message(id="m", data={"a": 1}, metadata={"b": 2})
    assert (
        len(
            {
                READ,
                dataclasses.replace(READ, metadata={"a": 1}),
                Session(id="t", user_id="u", state=READ.state),
            }
        )
        == 3
    )
    assert {message: 1}[copy.copy(message)] == 1


def test_unset_options_stay_unset_in_copies() -> None:
    config = SessionConfig(timeout=3)
    assert dataclasses.asdict(config).keys() == {"timeout", "max_messages", "context_window", "overflow"}
    assert SessionConfig(**dataclasses.asdict(config)) == config
    with pytest.raises(
        InvalidArgument, match=r"the keys are timeout, max_messages, context_window, overflow\."
    ):
        mask(config={"timeot": 3})
    for copied in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert mask(config=copied) == ["config.timeout"]
