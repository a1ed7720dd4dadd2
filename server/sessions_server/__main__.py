"""The command line. It parses, calls and prints; what a command does stands elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from sessions_server.domain.errors import SetupError
from sessions_server.domain.ports import Access
from sessions_server.settings import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

cli = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Keeps the state of conversations behind gRPC."
)


def _with_settings(command: Callable[[Settings], None]) -> Callable[..., None]:
    """A command that takes every setting as a flag of the same name; what is not given comes from the environment."""

    def run(**given: Any) -> None:
        try:
            settings = Settings(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise SetupError(
                "; ".join(f"{_flag(item['loc'])}: {item['msg']}" for item in error.errors())
            ) from None
        command(settings)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # where typer reads the flags from
        [_parameter(name, field) for name, field in Settings.model_fields.items()]
    )
    return run


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    kind = bool if field.annotation is bool else str
    option = typer.Option(_flag((name,)), help=(field.description or "").replace("`", ""), show_default=False)
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]  # the type is chosen above
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flag(location: tuple[int | str, ...]) -> str:
    return "--" + "-".join(str(part) for part in location).replace("_", "-")


@cli.command()
@_with_settings
def serve(settings: Settings) -> None:
    """Serves sessions until SIGTERM or SIGINT, then finishes the calls in flight and stops."""
    from sessions_server.app import serve as serve_app

    _run(serve_app(settings, ready=lambda address: typer.echo(f"listening on {address}")))


keyring = typer.Typer(no_args_is_help=True, help="Makes and keeps the keyring of encrypted sessions.")
cli.add_typer(keyring, name="keyring")


@keyring.command("new")
def keyring_new(file: Path) -> None:
    """Makes a keyring FILE with one key. Keep a copy apart from the database: without it the content is lost."""
    from sessions_server.security.keyring import create_keyring

    create_keyring(file, now=datetime.now(UTC))
    typer.echo(
        f"made {file}; start the server with SESSIONS_KEYRING={file}, and keep a copy of the file elsewhere"
    )


@keyring.command("rotate")
def keyring_rotate(file: Path) -> None:
    """Adds a new current key to FILE; older keys stay, for what they have wrapped."""
    from sessions_server.security.keyring import rotate_keyring

    current = rotate_keyring(file, now=datetime.now(UTC)).current
    typer.echo(
        f"key {current} is now current; run `sessions-server keyring rewrap` to bring older sessions under it"
    )


@keyring.command("list")
def keyring_list(file: Path) -> None:
    """Lists the keys of FILE, never the keys themselves."""
    from sessions_server.security.keyring import load_keyring

    for info in load_keyring(file).infos():
        typer.echo(f"{info.id}\t{info.created.isoformat()}\t{'current' if info.current else ''}".rstrip())


token = typer.Typer(no_args_is_help=True, help="Makes the bearer tokens that callers show.")
cli.add_typer(token, name="token")


@token.command("new")
def token_new(
    tenant: Annotated[str, typer.Option(help="Whose sessions the token opens.")],
    access: Annotated[Access, typer.Option(help="What it allows.")] = Access.WRITE,
    name: Annotated[str, typer.Option(help="Whom the logs name.")] = "",
) -> None:
    """Prints a new token once, and the entry for the file that SESSIONS_TOKENS names."""
    from sessions_server.security.tokens import new_token

    made = new_token(tenant=tenant, access=access, name=name)
    typer.echo(f"The token, shown this once: {made.token}", err=True)
    typer.echo(made.entry)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Runs on uvloop where it is installed; it is an extra."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        from uvloop import new_event_loop as loop_factory
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(work)


def main() -> None:
    try:
        cli()
    except SetupError as error:
        sys.exit(f"sessions-server: {error}")


if __name__ == "__main__":
    main()
