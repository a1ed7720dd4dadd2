"""The program: runs a command and turns its outcome into an exit code and at most one sentence."""

from __future__ import annotations

import os
import sys

try:
    import typer
except ImportError:
    sys.exit("sessions: the command line needs its extra; install it with: pip install 'sessions[cli]'")

from sessions_cli.app import command_line
from sessions_cli.exits import CLOSED_PIPE, FAILED, Failed


def main() -> None:
    """Runs the command line of this process."""
    try:
        command_line(sys.argv[1:])(prog_name="sessions")
    except Failed as failure:
        if failure.exit_code == CLOSED_PIPE:
            _silence_output()
        sys.exit(_say(str(failure), failure.exit_code))
    except Exception as error:
        sys.exit(_explain(error))


def _explain(error: Exception) -> int:
    """Errors of the client already are sentences; anything else is a bug and shows its traceback."""
    from sessions_cli.exits import exit_code_of, sentence_of
    from sessions_client import SessionsError

    if not isinstance(error, SessionsError):
        raise error
    return _say(sentence_of(error), exit_code_of(error))


def _say(sentence: str, code: int) -> int:
    if sentence:
        typer.echo(f"sessions: {sentence}", err=True)
    return code or FAILED


def _silence_output() -> None:
    """The reader of the output is gone: nothing may be written any more, not even when the interpreter exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
