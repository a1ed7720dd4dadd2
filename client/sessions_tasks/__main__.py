"""`sessions-task`: checks and runs tasks. Errors go to standard error, with a nonzero exit code."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from sessions_client import Client, SessionsError
from sessions_tasks import InvalidTask, StepFailed, TaskError, load_task, run_task, tool_definitions
from sessions_tasks._definitions import Format
from sessions_tasks._progress import OnProgress, Progress
from sessions_tasks._show import screen, show_line

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"
INTERRUPTED: Final = 130

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Runs workflows in YAML that work with sessions.",
)


class Output(StrEnum):
    """How the result is printed."""

    TEXT = "text"
    JSON = "json"


@cli.command()
def run(
    file: Annotated[Path, typer.Argument(help="The task, a YAML file.")],
    input: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TEXT|NAME:=JSON", help="An input; can be given several times."),
    ] = None,
    address: Annotated[
        str, typer.Option(envvar="SESSIONS_ADDRESS", help="Address and port of the server.")
    ] = DEFAULT_ADDRESS,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the bearer token; without it SESSIONS_TOKEN is used if set."),
    ] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="Use TLS, with this authority, PEM.")] = None,
    model: Annotated[
        str | None, typer.Option(envvar="SESSIONS_TASK_MODEL", help="The model of prompts that name none.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(help="Keep the progress under this id, and continue where it stopped.")
    ] = None,
    output: Annotated[
        Output, typer.Option(help="`json` prints one document, also for a failure.")
    ] = Output.TEXT,
    token: Annotated[str | None, typer.Option(envvar="SESSIONS_TOKEN", hidden=True)] = None,
) -> None:
    """Runs FILE and prints its output.

    Progress is shown on standard error. Prompts use OPENAI_BASE_URL and OPENAI_API_KEY.
    """
    if model == "":
        raise typer.BadParameter("--model is empty. Name a model, or leave the option out.")
    try:
        task = load_task(file)
        with (
            Client(address, token=_token(token_file, token), tls=tls_ca or False) as client,
            _progress(output) as report,
        ):
            result = run_task(
                client, task, _inputs(input or []), run_id=run_id, model=model, on_progress=report
            )
    except (TaskError, SessionsError, OSError) as error:
        sys.exit(_failure(error, output))
    except KeyboardInterrupt:
        again = f" Run it again with `--run-id {run_id}` to continue." if run_id else ""
        sys.stderr.write(f"sessions-task: The run was interrupted.{again}\n")
        sys.exit(INTERRUPTED)
    _print_result(result, output)


@cli.command()
def check(file: Annotated[Path, typer.Argument(help="The task, a YAML file.")]) -> None:
    """Reads FILE and prints everything that is wrong with it, without running it."""
    try:
        task = load_task(file)
    except (TaskError, OSError) as error:
        sys.exit(_failure(error, Output.TEXT))
    typer.echo(f"{file} is valid. Its workflows: {', '.join(['main', *task.sections])}")


class DefinitionFormat(StrEnum):
    """Whose function calling the definitions are for."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    MCP = "mcp"


@cli.command()
def tools(format: Annotated[DefinitionFormat, typer.Option()] = DefinitionFormat.OPENAI) -> None:
    """Prints the session tools as function definitions for a model."""
    names: dict[DefinitionFormat, Format] = {
        DefinitionFormat.OPENAI: "openai",
        DefinitionFormat.ANTHROPIC: "anthropic",
        DefinitionFormat.MCP: "mcp",
    }
    typer.echo(json.dumps(tool_definitions(names[format]), indent=2))


def _token(file: Path | None, token: str | None) -> str | None:
    return token if file is None else file.read_text(encoding="utf-8-sig").strip()


def _inputs(pairs: list[str]) -> dict[str, Any]:
    """`name=text` and `name:=json`. Raises typer.BadParameter."""
    inputs: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.removesuffix(":"):
            raise typer.BadParameter(f"--input takes NAME=TEXT or NAME:=JSON, not {pair!r}.")
        if name.endswith(":"):
            try:
                inputs[name[:-1]] = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise typer.BadParameter(
                    f"--input {name[:-1]} is not JSON: {error}. Use = for text."
                ) from None
        else:
            inputs[name] = text
    return inputs


def _progress(output: Output) -> AbstractContextManager[OnProgress]:
    if output is Output.JSON:
        return nullcontext(_ignore)
    return screen() if sys.stderr.isatty() else nullcontext(show_line)


def _ignore(progress: Progress) -> None:
    """Ignores progress for `--output json`, whose output is a single document."""


def _print_result(result: Any, output: Output) -> None:
    if output is Output.JSON:
        typer.echo(json.dumps({"output": result}))
    elif isinstance(result, str):
        typer.echo(result)
    elif result is not None:
        typer.echo(json.dumps(result, ensure_ascii=False, indent=2))


def _failure(error: Exception, output: Output) -> int:
    """Prints the error, as a sentence on standard error or as a document. Returns the exit code."""
    message = str(error)
    if isinstance(error, OSError) and not isinstance(error, SessionsError):  # DeadlineExceeded is both
        message = f"The file `{error.filename}` cannot be read: {error.strerror}. Check its path."
    if output is Output.TEXT:
        sys.stderr.write(f"{message}\n" if isinstance(error, InvalidTask) else f"sessions-task: {message}\n")
        return 1
    details: dict[str, Any] = {"type": type(error).__name__, "message": message}
    match error:
        case InvalidTask():
            details["problems"] = [
                {"line": each.mark.line, "column": each.mark.column, "message": each.message}
                for each in error.problems
            ]
        case StepFailed():
            details |= {"file": error.file, "line": error.line, "column": error.column, "key": error.key}
    typer.echo(json.dumps({"error": details}))
    return 1


def main() -> None:
    cli()


if __name__ == "__main__":
    main()
