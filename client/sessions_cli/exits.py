"""The exit codes, which scripts rely on.

0 done · 1 failed · 2 wrong usage · 3 not found · 4 conflict (wrong state, stale etag, id taken) · 5 unavailable · 6 not
allowed · 130 interrupted · 141 the reader of the output is gone
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from sessions_client import SessionsError

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
CONFLICT: Final = 4
UNAVAILABLE: Final = 5
NOT_ALLOWED: Final = 6
INTERRUPTED: Final = 130
CLOSED_PIPE: Final = 141

_SENTENCES: Final = {
    "UNAUTHENTICATED": "The server requires a token, and received none or an invalid one; give it in SESSIONS_TOKEN, "
    "or in a profile with --token-file.",
    "SESSION_NOT_FOUND": "There is no such session; check the id, which `sessions list` shows, or create the session "
    "with `sessions create --id`.",
    "SESSION_ALREADY_EXISTS": "A session with this id exists. Choose another id, with --id or --as; or show it with "
    "`sessions create --or-get`, or replace it with `sessions import --replace`.",
    "ETAG_MISMATCH": "There was a change since this etag was read. Look at what is there now; if your change still "
    "applies, repeat it with --etag {current_etag}.",
    "CURSOR_AHEAD": "This position is after the session's last event; `sessions get ID --fields last_sequence` shows "
    "that one.",
    "EVENTS_COMPACTED": "Events this old are no longer kept; use a later position, or leave the option out.",
    "LOG_REPLACED": "This position belongs to another log: the session was deleted and created again, or its last "
    "events were lost in a failover or a restore of the database; begin again with --from-start.",
}
"""By the reason of an error: the server's advice names fields, and a user of the command line needs options. In braces
is what comes from the error's metadata."""


_WORDS: Final = {
    "after_sequence": "--after",
    "at_sequence": "--at",
    "changes[0].path": "PATH",
    "changes[0].value": "VALUE",
    "config.context_window": "--context-window",
    "config.max_messages": "--max-messages",
    "config.timeout": "--timeout",
    "content": "TEXT",
    "event_types": "--types",
    "limit": "--last",
    "log_id": "--log-id",
    "metadata_filter": "FILTER",
    "name": "--name",
    "new_session_id": "--as",
    "order_by": "--order-by",
    "path": "PATH",
    "role": "--role",
    "session_data": "FILE",
    "session_id": "ID",
    "status": "--state",
    "storage_options.ttl": "--ttl",
    "target": "--address",
    "timeout": "--deadline",
    "user_id": "--user",
}
"""By the field of a request, within its session or message: what a user of the command line gives for it."""


class Failed(Exception):
    """Ends the command with a sentence and an exit code."""

    def __init__(self, sentence: str = "", *, exit_code: int = FAILED) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def exit_code_of(error: SessionsError) -> int:
    """The exit code for an error of the client."""
    import sessions_client as client

    codes: dict[type[SessionsError], int] = {
        client.NotFound: NOT_FOUND,
        client.AlreadyExists: CONFLICT,
        client.Aborted: CONFLICT,
        client.FailedPrecondition: CONFLICT,
        client.Unavailable: UNAVAILABLE,
        client.DeadlineExceeded: UNAVAILABLE,
        client.Unauthenticated: NOT_ALLOWED,
        client.PermissionDenied: NOT_ALLOWED,
        client.InvalidArgument: USAGE,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), FAILED)


def sentence_of(error: SessionsError) -> str:
    """What to tell the user about an error of the client."""
    ours = _SENTENCES.get(error.reason)
    sentence = error.message if ours is None else ours.format_map(error.metadata)
    for violation in error.violations:
        word = _WORDS.get(violation.field.removeprefix("session.").removeprefix("message."))
        if word is not None:
            sentence = sentence.replace(f"{violation.field}: ", f"{word}: ", 1)
    return sentence


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Wraps a command to handle what typer would report differently: an interruption, and a closed pipe."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        with _ends():
            command(*arguments, **options)
            sys.stdout.flush()

    return run


@contextmanager
def _ends() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, typer.Abort):
        raise Failed(exit_code=INTERRUPTED) from None
    except BrokenPipeError:
        raise Failed(exit_code=CLOSED_PIPE) from None
