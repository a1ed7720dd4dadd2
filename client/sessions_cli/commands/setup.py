"""Profiles, and diagnosis of connection problems."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from enum import StrEnum
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer

from sessions_cli.exits import FAILED, USAGE, Failed, guarded
from sessions_cli.profiles import Profile, Profiles, profiles_file, read_profiles, write_profiles
from sessions_cli.session import Terminal, with_terminal

profile = typer.Typer(no_args_is_help=True, help="Manages profiles, which name the servers you use.")


class Shell(StrEnum):
    """Shells with completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


Name = Annotated[str, typer.Argument(metavar="NAME", help="The profile's name.")]


@profile.command("list")
@guarded
def list_() -> None:
    """Lists the profiles; the default one is marked."""
    found = read_profiles(profiles_file())
    for name, each in found.by_name.items():
        typer.echo(f"{'*' if name == found.default else ' '} {name}  {each.address}")
    if not found.by_name:
        typer.echo("No profiles. Set one: sessions profile set work --address HOST:PORT", err=True)


@profile.command("set")
@guarded
def set_(
    name: Name,
    *,
    address: Annotated[str | None, typer.Option("--address", "-a", help="Address of the server.")] = None,
    token_file: Annotated[
        str | None, typer.Option("--token-file", help="File that holds the token; '' for none.")
    ] = None,
    tls: Annotated[bool | None, typer.Option("--tls/--no-tls", help="Whether the server speaks TLS.")] = None,
    ca: Annotated[
        str | None,
        typer.Option("--ca", help="File of the authority that signed its certificate; '' for none."),
    ] = None,
) -> None:
    """Makes a profile, or changes what is given. The first one becomes the default."""
    if not name or address == "":
        raise Failed("NAME and --address cannot be empty. Give a value.", exit_code=USAGE)
    found = read_profiles(profiles_file())
    given = {"address": address, "token_file": token_file, "tls": tls, "ca": ca}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    made = dataclasses.replace(found.by_name.get(name, Profile()), **changes)
    write_profiles(profiles_file(), Profiles(found.default or name, {**found.by_name, name: made}))


@profile.command("use")
@guarded
def use(name: Name) -> None:
    """Makes a profile the default one."""
    found = read_profiles(profiles_file())
    if name not in found.by_name:
        raise Failed(f"There is no profile `{name}`; set it first.", exit_code=USAGE)
    write_profiles(profiles_file(), Profiles(name, found.by_name))


@profile.command("show")
@with_terminal
def show(*, terminal: Terminal) -> None:
    """Shows the connection in use, from profile, environment and flags, without the token."""
    used = dataclasses.asdict(terminal.profile())
    terminal.printer.one({**used, "token": "(set)" if used["token"] else "", "file": str(profiles_file())})


@with_terminal
def doctor(*, terminal: Terminal) -> None:
    """Checks the connection to the server.

    For each problem it says what to do.
    """
    from sessions_client import SessionsError

    used = terminal.profile()
    checks = [("profile", f"{used.address}, {'TLS' if used.tls or used.ca else 'no TLS'}", True)]
    try:
        with terminal.client() as client:
            took = client.ping()
            checks.append(("server", f"answered in {took.total_seconds() * 1_000:.1f} ms", True))
            list(client.sessions.list(limit=1))
            checks.append(("calls", "allowed", True))
    except SessionsError as error:
        checks.append(("server" if len(checks) == 1 else "calls", error.message, False))
    for what, found, is_right in checks:
        typer.echo(f"{'ok  ' if is_right else 'FAIL'}  {what:<8} {found}")
    if not all(is_right for *_, is_right in checks):
        raise Failed(exit_code=FAILED)


@guarded
def version() -> None:
    """Prints the version."""
    typer.echo(f"sessions {installed_version('sessions')} on Python {sys.version.split()[0]}")


@guarded
def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Prints a shell's completion script.

    Use it like this: source <(sessions completion bash)
    """
    asked = {**os.environ, "_SESSIONS_COMPLETE": f"source_{shell}"}
    subprocess.run([sys.executable, "-m", "sessions_cli"], env=asked, check=True)
