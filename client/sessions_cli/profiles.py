"""The server's address and credentials: from a TOML file of profiles, then the environment, then flags.

    default = "local"

    [profiles.local]
    address = "127.0.0.1:50051"

    [profiles.work]
    address = "sessions.example:443"
    tls = true
    token_file = "~/.config/sessions/work.token"

Tokens are never given on the command line, which every user of the machine can read.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from sessions_cli.exits import USAGE, Failed

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"


@dataclass(frozen=True, slots=True)
class Profile:
    """How to reach one server."""

    address: str = DEFAULT_ADDRESS
    token: str = ""
    token_file: str = ""
    tls: bool = False
    ca: str = ""
    """The CA file for the server's certificate; empty for the well-known authorities."""

    def bearer_token(self) -> str | None:
        """The token; None if there is none."""
        if not self.token_file:
            return self.token or None
        path = Path(self.token_file).expanduser()
        try:
            return path.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Failed(f"The token file {path} cannot be read ({error}).", exit_code=USAGE) from error


@dataclass(frozen=True, slots=True)
class Profiles:
    """The content of the profiles file."""

    default: str = ""
    by_name: dict[str, Profile] = field(default_factory=dict)


def profiles_file() -> Path:
    """`SESSIONS_PROFILES`, else `sessions/profiles.toml` in the user's configuration folder."""
    if named := os.environ.get("SESSIONS_PROFILES"):
        return Path(named)
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "sessions" / "profiles.toml"


def read_profiles(file: Path) -> Profiles:
    """Reads the profiles of a file; no profiles if it does not exist. Raises Failed if the file is invalid."""
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return Profiles()
    except (OSError, ValueError) as error:
        raise Failed(f"The profiles in {file} cannot be read ({error}).", exit_code=USAGE) from error
    default, tables = found.get("default", ""), found.get("profiles", {})
    if not isinstance(default, str) or not isinstance(tables, dict):
        raise Failed(f"{file} needs a string `default` and tables `[profiles.NAME]`.", exit_code=USAGE)
    return Profiles(default, {name: _profile(file, name, table) for name, table in tables.items()})


def write_profiles(file: Path, profiles: Profiles) -> None:
    """Replaces the file. Only its owner can read it, since it may hold tokens."""
    lines = [f"default = {json.dumps(profiles.default)}"]
    for name, profile in profiles.by_name.items():
        lines += ["", f"[profiles.{json.dumps(name)}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in _given(profile).items()]
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text("\n".join([*lines, ""]), encoding="utf-8")
    fresh.replace(file)


def chosen_profile(name: str | None, *, address: str | None) -> Profile:
    """The profile in effect: the named one, else that of `SESSIONS_PROFILE`, else the default; with overrides from the
    environment, then from flags."""
    profiles = read_profiles(profiles_file())
    name = name or os.environ.get("SESSIONS_PROFILE") or profiles.default
    if name and name not in profiles.by_name:
        known = (
            ", ".join(sorted(profiles.by_name)) or "none is set; use `sessions profile set NAME --address …`"
        )
        raise Failed(f"There is no profile `{name}`. Known: {known}.", exit_code=USAGE)
    found = profiles.by_name[name] if name else Profile()
    environment = {
        "address": os.environ.get("SESSIONS_ADDRESS"),
        "token": os.environ.get("SESSIONS_TOKEN"),
        "token_file": os.environ.get("SESSIONS_TOKEN_FILE"),
    }
    given = {**_given(found), **{key: value for key, value in environment.items() if value}}
    if environment["token"]:
        given.pop("token_file", None)
    return Profile(**{**given, **({"address": address} if address else {})})


def _profile(file: Path, name: str, table: Any) -> Profile:
    kinds = {each.name: bool if each.name == "tls" else str for each in fields(Profile)}
    for key, value in table.items() if isinstance(table, dict) else [("", None)]:
        if key not in kinds:
            raise Failed(
                f"{file}: profile `{name}` has no key `{key}`. Known: {', '.join(kinds)}.", exit_code=USAGE
            )
        if not isinstance(value, kinds[key]):
            raise Failed(
                f"{file}: `{key}` of profile `{name}` must be a {kinds[key].__name__}.", exit_code=USAGE
            )
    return Profile(**table)


def _given(profile: Profile) -> dict[str, Any]:
    every = {each.name: getattr(profile, each.name) for each in fields(profile)}
    return {key: value for key, value in every.items() if value}
