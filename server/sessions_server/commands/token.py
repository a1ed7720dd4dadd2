"""`sessions-server token`: makes the credentials of callers."""

from __future__ import annotations

from typing import Annotated

import typer

from sessions_server.domain.ports import Access

token = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Makes bearer tokens for callers.")


@token.callback()
def group() -> None:
    """Without a callback, typer would turn a group with one command into that command."""


@token.command("new")
def new(
    tenant: Annotated[str, typer.Option(help="Tenant whose sessions the token gives access to.")],
    access: Annotated[Access, typer.Option(help="What it allows.")] = Access.WRITE,
    name: Annotated[str, typer.Option(help="The caller's name in the logs.")] = "",
) -> None:
    """Makes a token, and shows it once.

    Standard output is the entry to append to the file that SESSIONS_TOKENS names; it does not contain the token.
    """
    from sessions_server.security.tokens import new_token

    made = new_token(tenant=tenant, access=access, name=name)
    typer.echo(f"The token, which is shown only once: {made.token}", err=True)
    typer.echo(made.entry)
