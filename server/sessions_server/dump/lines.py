"""The export file of a whole database: one line per record, with the records of a session together.

    {"format":"sessions.v1.export"}         what the file is
    {"header":…} … {"footer":…}             a session, as in an export
    {"header":…} {"key":…} {"sealed":…} … {"sealed_footer":…}
                                            an encrypted session: only its header is readable
    {"scope":…} … {"footer":…}              the records of a user or a tenant; sealed as above if there is a keyring
    {"damaged":…}                           a session that could not be read and is not in the file
    {"end":{"count":…,"sha256":…}}          only once the file is whole: how many of these, and the digest of every byte
                                            before this line

Clients write the same file with one session, or one JSON document with its records, which is read as well.

Only complete sessions count: anything after the last of them was interrupted and is written again. A file that does not
start like this is never touched, and only one command can use a file at a time. Nothing is imported before the whole
file has been verified.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final

from sessions_server.domain.errors import SetupError
from sessions_server.domain.transfer import is_sound
from sessions_server.dump import form

if TYPE_CHECKING:
    from collections.abc import Iterator
    from hashlib import _Hash
    from pathlib import Path

    from sessions_server.domain.transfer import ExportRecord

FIRST_LINE: Final = form.line_of("format", form.FORMAT) + b"\n"
FIRST_RELEASE: Final = b'["sessions-dump",2]\n'
"""The first line of the first release's files, which are read but no longer written."""

COLUMN: Final = "dump"

LONGEST_LINE: Final = 64 * 1024 * 1024
"""Longer than any line that is written: a page of messages, each byte six in JSON, encrypted, and in base64."""

CLOSING: Final = form.beginnings("footer", "sealed_footer")
"""How a line begins that closes a session or the records of a scope."""

END: Final = form.beginnings("end")
DAMAGED: Final = form.beginnings("damaged")
HEADER: Final = form.beginnings("header", "scope")
KEY: Final = form.beginnings("key")

_OTHER_RELEASE: Final = (b'["sessions-dump",', b'{"format":"sessions.')
_PRIVATE: Final = 0o600


def next_line(path: Path, file: IO[bytes]) -> bytes:
    """The next line, or what is left of one at the end of the file."""
    line = file.readline(LONGEST_LINE + 1)
    if len(line) > LONGEST_LINE:
        raise altered(path)
    return line


def record_of(path: Path, line: bytes) -> ExportRecord:
    """The record in a line. Raises SetupError if it is none, or none that an export has."""
    try:
        record = form.read(line)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise altered(path) from error
    if not is_sound(record):
        raise altered(path)
    return record


def end_of(count: int, digest: _Hash) -> bytes:
    return form.line_of("end", {"count": count, "sha256": digest.hexdigest()})


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Raises SetupError in place of the system's errors."""
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"{path} cannot be used ({error.strerror}); check that it is a file that you may use, in a folder "
            "that exists and has room."
        ) from error


def open_regular(name: str, flags: int) -> int:
    """Raises SetupError for a folder, a device or a FIFO."""
    # Without O_NONBLOCK opening a FIFO would wait for its other end.
    descriptor = os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC, _PRIVATE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SetupError(f"{name} is not a regular file; name a file.")
    return descriptor


def claim(path: Path, file: IO[bytes], lock: int) -> None:
    """Locks the file until it is closed. Raises SetupError if another command holds it."""
    try:
        fcntl.flock(file, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SetupError(
            f"Another command is using {path}; wait until it has ended, or name another file."
        ) from None


def not_an_export(path: Path, line: bytes) -> SetupError:
    if line.startswith(_OTHER_RELEASE):
        return SetupError(
            f"{path} was exported by another release of this program, and was left unchanged; export again with this "
            "release."
        )
    return SetupError(f"{path} is not an export of this program, and was left unchanged; name another file.")


def altered(path: Path) -> SetupError:
    return SetupError(
        f"{path} is not as it was exported: it was altered or damaged since. Export again, to another file, or take "
        "this one from a backup."
    )


def unfinished(path: Path) -> SetupError:
    return SetupError(
        f"{path} is incomplete; run `sessions-server export {path}` again, which resumes where it stopped."
    )
