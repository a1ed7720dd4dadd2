"""The server's settings: how their values are read, and what is said about those that cannot be used."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sessions_server.domain.errors import SetupError
from sessions_server.setting_values import write
from sessions_server.settings import SETTINGS, LogLevel, Settings, read_settings


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("listen", "unix:/run/s.sock", "unix:/run/s.sock"),
        ("http_listen", "", ""),
        ("keyring", "keys", Path("keys")),
        ("insecure", "YES", True),
        ("insecure", "off", False),
        ("log_level", "error", LogLevel.ERROR),
        ("workers", "256", 256),
        ("max_metadata_keys", "0", 0),
        ("drain_grace", "1.5", timedelta(seconds=1.5)),
        ("poll_interval", "1e-06", timedelta(microseconds=1)),
        ("checkpoint_interval", "30", timedelta(seconds=30)),
    ],
)
def test_a_value_is_read_from_a_flag_and_from_a_variable(
    name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert getattr(read_settings(**{name: text}), name) == value
    monkeypatch.setenv(f"sessions_{name}", text)
    assert getattr(read_settings(), name) == value


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("listen", "unix:", "it must have the path of a socket"),
        ("insecure", "perhaps", "it must be true or false"),
        ("log_level", "loud", "it must be one of debug, info, warning, error"),
        ("workers", "257", "it must be a whole number of at least 1 and at most 256"),
        ("pool_size", "5", "it must be a whole number of at least 6;"),
        ("max_streams", "many", "it must be a whole number of at least 1;"),
        ("poll_interval", "0", "it must be more than 0 seconds"),
        ("checkpoint_interval", "31", "it must be at least 0 and at most 30 seconds"),
        ("transfer_idle", "315360001", "at most ten years"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_and_not_shown(name: str, text: str, reason: str) -> None:
    flag = "--" + name.replace("_", "-")
    with pytest.raises(SetupError) as refused:
        read_settings(**{name: text})
    sentence = str(refused.value)
    assert sentence.startswith(f"{flag} (SESSIONS_{name.upper()}) cannot be used: ")
    assert reason in sentence


def test_every_value_that_cannot_be_used_is_named() -> None:
    with pytest.raises(SetupError, match=r"--workers .* --pool-size "):
        read_settings(workers="0", pool_size="0")


def test_a_flag_comes_before_a_variable_and_an_empty_variable_is_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SESSIONS_WORKERS", "2")
    monkeypatch.setenv("SESSIONS_HTTP_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("SESSIONS_POOL_SIZE", "")
    read = read_settings(workers="3", http_listen="", keyring=None)
    assert (read.workers, read.http_listen, read.pool_size) == (3, "", Settings().pool_size)
    assert read.given == {"workers", "http_listen"}


@pytest.mark.parametrize("name", [name for name in SETTINGS if getattr(Settings(), name) is not None])
def test_a_default_is_read_as_itself(name: str) -> None:
    default = getattr(Settings(), name)
    assert SETTINGS[name].read(write(default)) == default
