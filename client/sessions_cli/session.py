"""What every command uses: a client for the profile's server, and a printer.

`@with_terminal` adds the options that all commands share, so that they can follow the command, where people type them:
`sessions get ID -o json`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sessions_cli.completing import complete_ids
from sessions_cli.exits import USAGE, Failed, guarded
from sessions_cli.output import Format, Printer
from sessions_cli.profiles import Profile, chosen_profile

if TYPE_CHECKING:
    from sessions_client import Client

SessionId = Annotated[
    str, typer.Argument(metavar="ID", help="The session's id.", autocompletion=complete_ids)
]
SessionIds = Annotated[
    list[str], typer.Argument(metavar="ID…", help="The sessions' ids.", autocompletion=complete_ids)
]

_OUTPUT = Annotated[
    Format | None,
    typer.Option("--output", "-o", help="Form of output. Default: a table on a terminal, jsonl elsewhere."),
]
_FIELDS = Annotated[
    str | None, typer.Option("--fields", help="Only these fields: `id,state,metadata.device`.")
]
_PROFILE = Annotated[
    str | None, typer.Option("--profile", "-p", help="Profile to use, instead of the default one.")
]
_ADDRESS = Annotated[str | None, typer.Option("--address", "-a", help="Address of the server.")]
_DEADLINE = Annotated[
    float, typer.Option("--deadline", help="Seconds that a call may take, retries included.")
]


@dataclass(frozen=True, slots=True)
class Terminal:
    """The values of the shared options."""

    profile_name: str | None
    address: str | None
    deadline: float
    printer: Printer

    def profile(self) -> Profile:
        """The connection settings in effect."""
        return chosen_profile(self.profile_name, address=self.address)

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client for the server."""
        from sessions_client import TLS, Client

        profile = self.profile()
        tls: bool | TLS = TLS(ca=profile.ca) if profile.ca else profile.tls
        with Client(profile.address, token=profile.bearer_token(), tls=tls, timeout=self.deadline) as made:
            yield made


def with_terminal(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the shared options to the command, which receives them as its argument `terminal`; refuses empty options."""

    @functools.wraps(command)
    def run(
        *arguments: Any,
        invocation: typer.Context,
        output: Format | None,
        fields: str | None,
        profile: str | None,
        address: str | None,
        deadline: float,
        **options: Any,
    ) -> None:
        _refuse_empty_options(invocation)
        terminal = Terminal(profile, address, deadline, Printer(output, fields))
        guarded(command)(*arguments, terminal=terminal, **options)

    own = inspect.signature(command, eval_str=True).parameters.values()
    shared: dict[str, tuple[Any, Any]] = {
        "invocation": (typer.Context, inspect.Parameter.empty),
        "output": (_OUTPUT, None),
        "fields": (_FIELDS, None),
        "profile": (_PROFILE, None),
        "address": (_ADDRESS, None),
        "deadline": (_DEADLINE, 30.0),
    }
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [each for each in own if each.name != "terminal"]
    parameters += [
        inspect.Parameter(name, keyword, default=default, annotation=kind)
        for name, (kind, default) in shared.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _refuse_empty_options(invocation: typer.Context) -> None:
    """An empty value nearly always comes from a shell's variable that is not set. Taken for an option that is not
    given, it would list the sessions of all users, or make a conditional write unconditional."""
    for parameter in invocation.command.params:
        value = invocation.params.get(parameter.name or "")  # the oldest typer has tuples for lists
        if parameter.param_type_name == "option" and (
            value == "" or (isinstance(value, list | tuple) and "" in value)
        ):
            raise Failed(
                f"{parameter.opts[0]} is empty. Give a value, or leave the option out.", exit_code=USAGE
            )
