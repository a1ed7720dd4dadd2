"""Profiles, the environment and flags: the later source wins."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from sessions_cli.app import COMMANDS, command_line
from sessions_cli.exits import Failed
from sessions_cli.profiles import Profile, Profiles, chosen_profile, read_profiles, write_profiles
from sessions_cli.values import json_value


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "profiles.toml"
    for name in ("ADDRESS", "TOKEN", "TOKEN_FILE", "PROFILE"):
        monkeypatch.delenv(f"SESSIONS_{name}", raising=False)
    monkeypatch.setenv("SESSIONS_PROFILES", str(file))
    return file


def test_without_a_file_the_local_server_is_called() -> None:
    assert chosen_profile(None, address=None) == Profile(address="127.0.0.1:50051")


def test_a_written_profile_can_be_read(file: Path) -> None:
    written = Profiles(
        "a b", {"a b": Profile(address="h:1", token_file='~/"t"', tls=True), "c": Profile(ca="/ca.pem")}
    )
    write_profiles(file, written)
    assert read_profiles(file) == written
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_environment_overrides_the_profile_and_a_flag_both(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_profiles(
        file,
        Profiles(
            "work", {"work": Profile(address="work:1", token="kept"), "home": Profile(address="home:1")}
        ),
    )
    assert chosen_profile(None, address=None).address == "work:1"
    assert chosen_profile("home", address=None).address == "home:1"
    monkeypatch.setenv("SESSIONS_PROFILE", "home")
    assert chosen_profile(None, address=None).address == "home:1"
    monkeypatch.setenv("SESSIONS_ADDRESS", "env:1")
    assert chosen_profile("work", address=None) == Profile(address="env:1", token="kept")
    assert chosen_profile("work", address="flag:1").address == "flag:1"


def test_a_token_in_the_environment_overrides_the_profiles_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_profiles(file, Profiles("work", {"work": Profile(token_file="/nowhere")}))
    monkeypatch.setenv("SESSIONS_TOKEN", "secret")
    assert chosen_profile(None, address=None).bearer_token() == "secret"


def test_no_option_takes_a_token() -> None:
    options: set[str] = set()
    for name in COMMANDS:
        found = get_command(command_line([name]))
        assert isinstance(found, TyperGroup)
        command = found.commands[name]
        below = list(command.commands.values()) if isinstance(command, TyperGroup) else [command]
        options |= {option for each in below for parameter in each.params for option in parameter.opts}
    assert "--token-file" in options
    assert "--token" not in options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("default = 1", "needs a string `default`"),
        ("[profiles.a]\nadress = 'x'", "has no key `adress`"),
        ("[profiles.a]\ntls = 'yes'", "must be a bool"),
        ("[profiles]\na = 1", "has no key"),
        ("= broken", "cannot be read"),
    ],
)
def test_an_invalid_file_is_refused_with_a_sentence(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(Failed, match=said):
        read_profiles(file)


def test_files_that_an_editor_began_with_a_byte_order_mark_are_read(file: Path, tmp_path: Path) -> None:
    """Notepad does, and PowerShell."""
    token, value = tmp_path / "token", tmp_path / "value.json"
    token.write_text("secret\n", encoding="utf-8-sig")
    value.write_text('{"a": 1}', encoding="utf-8-sig")
    file.write_text(f'[profiles.work]\ntoken_file = "{token}"\n', encoding="utf-8-sig")
    assert chosen_profile("work", address=None).bearer_token() == "secret"
    assert json_value(f"@{value}") == {"a": 1}
