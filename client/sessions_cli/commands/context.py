"""Reading and changing the context."""

from __future__ import annotations

import difflib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sessions_cli.exits import CONFLICT, USAGE, Failed
from sessions_cli.output import console
from sessions_cli.session import SessionId, Terminal, with_terminal
from sessions_cli.values import json_object, json_value

if TYPE_CHECKING:
    from sessions_client import Client, Context

context = typer.Typer(no_args_is_help=True, help="Reads and changes the context that services share.")

Path_ = Annotated[str, typer.Argument(metavar="PATH", help="Such as `user_input.query`, or a JSON Pointer.")]
Etag = Annotated[str | None, typer.Option("--etag", help="Only if the context still has this etag.")]
At = Annotated[int | None, typer.Option("--at", min=1, help="As it was right after this event.")]


@context.command("get")
@with_terminal
def get(id_: SessionId, path: Path_ = "", *, at: At = None, terminal: Terminal) -> None:
    """Prints the context, or the value at PATH."""
    with terminal.client() as client:
        found = client.sessions.get_context(id_, path=path or None, at_sequence=at)
        _print(found.value if path else dict(found))


@context.command("set")
@with_terminal
def set_(
    id_: SessionId,
    path: Annotated[
        str, typer.Argument(metavar="PATH|CONTEXT", help="Where to set VALUE, or the whole context.")
    ],
    value: Annotated[str | None, typer.Argument(metavar="VALUE", show_default=False)] = None,
    *,
    etag: Etag = None,
    terminal: Terminal,
) -> None:
    """Sets VALUE at PATH, or the whole context. VALUE is JSON, a bare word, `@FILE`, or `-`; CONTEXT is a JSON object,
    `@FILE`, or `-`."""
    with terminal.client() as client:
        if value is None:
            changed = client.sessions.set_context(id_, context=json_object(path), etag=etag)
        else:
            changed = client.sessions.update_context(id_, path=path, value=json_value(value), etag=etag)
        _print(dict(changed))


@context.command("merge")
@with_terminal
def merge(
    id_: SessionId,
    value: Annotated[str, typer.Argument(metavar="OBJECT", help="A JSON object, `@FILE`, or `-`.")],
    *,
    etag: Etag = None,
    terminal: Terminal,
) -> None:
    """Replaces the given keys of the context and keeps the others."""
    with terminal.client() as client:
        _print(dict(client.sessions.update_context(id_, context=json_object(value), etag=etag)))


@context.command("diff")
@with_terminal
def diff(
    id_: SessionId,
    since: Annotated[int, typer.Argument(metavar="SEQ", min=1, help="The event to compare with.")],
    until: Annotated[int | None, typer.Argument(metavar="[SEQ]", min=1, help="Default: now.")] = None,
    *,
    terminal: Terminal,
) -> None:
    """Shows what changed in the context since an event."""
    with terminal.client() as client:
        before = client.sessions.get_context(id_, at_sequence=since)
        after = client.sessions.get_context(id_, at_sequence=until)
        show_diff(dict(before), dict(after))


@context.command("edit")
@with_terminal
def edit(id_: SessionId, *, terminal: Terminal) -> None:
    """Opens the context in $EDITOR and stores what was changed. Nothing that others write meanwhile is lost."""
    if not sys.stdin.isatty():
        raise Failed("There is no terminal to edit in; use `sessions context set`.", exit_code=USAGE)
    with terminal.client() as client:
        _Editing(client, id_).run()


class _Editing:
    """One edit, with as many rounds as it takes until it is stored or abandoned."""

    def __init__(self, client: Client, id_: str) -> None:
        self._client = client
        self._id = id_

    def run(self) -> None:
        from sessions_client import Aborted

        current = self._client.sessions.get_context(self._id)
        text = _text(dict(current))
        while True:
            text, wanted = self._edited(text)
            if wanted == dict(current):
                typer.echo("Nothing was changed.", err=True)
                return
            show_diff(dict(current), wanted)
            if not typer.confirm("Store this?", default=True, err=True):
                raise Failed("Nothing was stored.")
            try:
                self._client.sessions.set_context(self._id, context=wanted, etag=current.etag)
            except Aborted:
                current = self._conflict(current)
            else:
                return

    def _edited(self, text: str) -> tuple[str, dict[str, Any]]:
        while True:
            text = _in_editor(text)
            try:
                wanted = json.loads(text)
            except (ValueError, RecursionError) as error:
                typer.echo(f"This is not JSON: {error}", err=True)
            else:
                if isinstance(wanted, dict):
                    return text, wanted
                typer.echo("A context is a JSON object.", err=True)
            if not typer.confirm("Edit it again?", default=True, err=True):
                raise Failed("Nothing was stored.")

    def _conflict(self, before: Context) -> Context:
        now = self._client.sessions.get_context(self._id)
        typer.echo("The context was changed meanwhile:", err=True)
        show_diff(dict(before), dict(now))
        if not typer.confirm("Edit again, with that in mind?", default=True, err=True):
            raise Failed("Nothing was stored.", exit_code=CONFLICT)
        return now


def show_diff(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Prints the changed lines in the colours of version control."""
    from rich.text import Text

    lines = difflib.unified_diff(_text(before).splitlines(), _text(after).splitlines(), n=3, lineterm="")
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in list(lines)[2:]:
        console().print(Text(line, styles.get(line[:1], "")), soft_wrap=True)


def _in_editor(text: str) -> str:
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "context.json"
        file.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run([*shlex.split(command), file], check=False)  # noqa: S603  # the user's own editor
        except OSError as error:
            raise Failed(f"The editor `{command}` cannot be started ({error}); set EDITOR.") from error
        if done.returncode != 0:
            raise Failed(f"The editor ended with {done.returncode}; nothing was stored.")
        return file.read_text(encoding="utf-8-sig")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def _print(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()
