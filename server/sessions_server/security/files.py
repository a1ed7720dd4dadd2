"""Operators' files: read securely, replaced atomically, loaded again when they change.

Readers never see a half-written file, and an unusable new version never replaces the one in use.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, Generic, TypeAlias, TypeVar

from sessions_server.domain.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
_Fingerprint: TypeAlias = "tuple[int, ...] | None"

OWNER_ONLY: Final = 0o600
READ_OR_WRITTEN_BY_OTHERS: Final = 0o066
WRITTEN_BY_OTHERS: Final = 0o022

_CHECK_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


class Unreadable(SetupError):
    """The system denied reading the file. That may change although the file does not."""


def read_guarded(path: Path, *, refused_mode: int, absent: str) -> bytes:
    """Returns the content of a regular file whose mode has none of the bits in `refused_mode`.

    Raises Unreadable, or another SetupError, with the text `absent` if the file does not exist.
    """
    try:
        # Without O_NONBLOCK opening a FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _check_mode(path, os.fstat(descriptor).st_mode, refused_mode)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise SetupError(absent) from None
    except OSError as exc:
        raise Unreadable(f"{path} cannot be read ({exc.strerror}); let the server's user read it.") from exc


def create_private(path: Path, content: bytes) -> None:
    """Writes a new file durably, readable only by its owner. Never overwrites a file: raises SetupError."""
    with _replacing(path) as file:
        if os.path.lexists(path):
            raise SetupError(
                f"{path} exists and is left as it is; choose another name, or move it away first."
            )
        file.write(content)


def rewrite_private(path: Path, change: Callable[[bytes], bytes], *, absent: str) -> None:
    """Replaces a private file's content durably with the result of `change`; until then the old content remains.

    Of two concurrent calls the second is refused. Raises SetupError, with the text `absent` if the file does not exist.
    """
    # Replaces the target of a symbolic link, not the link.
    path = path.resolve()
    with _replacing(path) as file:
        file.write(change(read_guarded(path, refused_mode=READ_OR_WRITTEN_BY_OTHERS, absent=absent)))
        owner = path.stat()
        # When root rewrites the file, the server's user must still be able to read it.
        os.fchown(file.fileno(), owner.st_uid, owner.st_gid)


class WatchedFile(Generic[T]):
    """A loaded file that is loaded again when it has changed.

    It checks the file at most once a second. A version that cannot be loaded is logged once, and the previous one stays
    in use. A version that could not be read is tried again at each check: a revoked token must not stay valid because
    the process was short of file descriptors. Several threads may use it, and none waits for another.
    """

    def __init__(
        self, path: Path, *, load: Callable[[Path], T], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises what `load` raises: a server does not start with an unusable file."""
        self._path = path
        self._load = load
        self._monotonic = monotonic
        self._lock = threading.Lock()
        # Taken before the content is read, so that a change in between is noticed at the next check.
        self._seen = _fingerprint(path)
        self._value = load(path)
        self._complaint: tuple[_Fingerprint, str] | None = None
        """The last logged error, and the version of the file it was about."""
        self._next_look = monotonic() + _CHECK_SECONDS

    def value(self) -> T:
        """The content as of the last usable version."""
        if self._monotonic() >= self._next_look and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._value

    def _look(self) -> None:
        self._next_look = self._monotonic() + _CHECK_SECONDS
        found = _fingerprint(self._path)
        if found == self._seen:
            return
        try:
            self._value = self._load(self._path)
        except Unreadable as exc:
            self._complain(found, exc)
            return
        except SetupError as exc:
            self._complain(found, exc)
        else:
            logger.info("%s has changed and was read again.", self._path)
        self._seen = found

    def _complain(self, found: _Fingerprint, exc: SetupError) -> None:
        if (found, str(exc)) != self._complaint:
            self._complaint = (found, str(exc))
            logger.error("A changed file is not used; what was read from it before stays in force. %s", exc)


def _check_mode(path: Path, mode: int, refused: int) -> None:
    if not stat.S_ISREG(mode):
        raise SetupError(f"{path} is not a regular file; give the path of a file.")
    if mode & refused & 0o044:
        raise SetupError(f"{path} can be read by other users; make it private with `chmod 600 {path}`.")
    if mode & refused:
        raise SetupError(f"{path} can be changed by other users; forbid it with `chmod go-w {path}`.")


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Writes a file that replaces `path` at the end. Its fixed name serves as a lock against a second writer."""
    staged = path.parent / f"{path.name}.new"
    try:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY)
    except FileExistsError:
        raise SetupError(
            f"{staged} exists, so another command may be writing {path}; "
            f"if none is, remove {staged} and try again."
        ) from None
    except OSError as exc:
        raise _unwritable(path, exc) from exc
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except BaseException as exc:
        # Not in `finally`: once `path` is replaced, the name may belong to another writer.
        staged.unlink(missing_ok=True)
        if isinstance(exc, OSError):
            raise _unwritable(path, exc) from exc
        raise
    _sync_folder(path.parent)


def _unwritable(path: Path, exc: OSError) -> SetupError:
    return SetupError(
        f"{path} cannot be written ({exc.strerror}); "
        "check that its folder exists, has room and may be written to."
    )


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable, which the file's own fsync does not do."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fingerprint(path: Path) -> _Fingerprint:
    """Distinguishes versions of a file; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
