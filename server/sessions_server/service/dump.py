"""Moves all sessions of a database to a file, and from a file into a database, which may be of the other kind.

The file holds one record a line, a session's records together and closed by its footer. Both ways can be cut off at any
point and called again: an export goes on after the last whole session in the file, an import after the last one whose
end it has noted beside the file. The file holds content in clear, so it is made for its owner's eyes only.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from sessions_server.domain.errors import SessionNotFound, SetupError, Unavailable
from sessions_server.domain.transfer import Footer, Header, Record, decode_record, encode_record

if TYPE_CHECKING:
    from sessions_server.domain.models import SessionKey
    from sessions_server.service.transfer import Transfers

KEYS_PER_STEP = 256

Progress = Callable[[int], None]
"""Told, after each session, how many sessions (export) or bytes (import) are behind."""


class Keys(Protocol):
    async def keys(self, after: SessionKey | None, limit: int) -> list[SessionKey]:
        """Keys of stored sessions in their order, of every tenant, from after a key on."""


async def export_all(store: Keys, transfers: Transfers, path: Path, *, progress: Progress) -> int:
    """Appends what the file does not hold yet; answers how many sessions that were."""
    count, last = 0, _cut_to_whole_sessions(path)
    with open(path, "ab", opener=_private) as file:  # noqa: ASYNC230  # nobody else waits
        while keys := await store.keys(last, KEYS_PER_STEP):
            for key in keys:
                count += await _export_one(transfers, key, file)
                progress(count)
            last = keys[-1]
            file.flush()
            os.fsync(file.fileno())
    return count


async def _export_one(transfers: Transfers, key: SessionKey, file: IO[bytes]) -> int:
    """Appends one session as a whole or not at all; again from its start when its history changed meanwhile."""
    start = file.tell()
    while True:
        try:
            async for record in transfers.export(key):
                file.write(encode_record(record) + b"\n")
            return 1
        except (SessionNotFound, Unavailable) as error:
            file.flush()
            file.truncate(start)
            if isinstance(error, SessionNotFound):
                return 0


async def import_all(transfers: Transfers, path: Path, *, progress: Progress) -> int:
    """Imports what was not imported yet, under the tenants and ids of the export; answers how many sessions that were.

    Raises SetupError for a file that is not an export, SessionExists where a session of the same id stands already.
    """
    note = path.with_name(path.name + ".imported")
    count = 0
    with path.open("rb") as file:
        file.seek(int(note.read_text()) if note.exists() else 0)
        while line := file.readline():
            header, at = _header(line), file.tell()
            await transfers.import_(
                header.session.key,
                records=_one_session(header, file),
                fail_if_exists=True,
                request_id=f"import-{at}",
            )
            count += 1
            _replace(note, str(file.tell()))
            progress(file.tell())
    note.unlink(missing_ok=True)
    return count


def _header(line: bytes) -> Header:
    record = _read(line)
    if not isinstance(record, Header):
        raise _not_an_export()
    return record


async def _one_session(header: Header, file: IO[bytes]) -> AsyncIterator[Record]:
    yield header
    while line := file.readline():  # a loop over the file itself would hide its position
        record = _read(line)
        yield record
        if isinstance(record, Footer):
            return


def _read(line: bytes) -> Record:
    try:
        return decode_record(line)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_an_export() from error


def _cut_to_whole_sessions(path: Path) -> SessionKey | None:
    """Takes off what follows the last footer; answers the key of the last session that is whole."""
    last: SessionKey | None = None
    end = 0
    if not path.exists():
        return None
    with path.open("r+b") as file:
        key: SessionKey | None = None
        while (line := file.readline()).endswith(b"\n"):
            record = _read(line)
            if isinstance(record, Header):
                key = record.session.key
            elif isinstance(record, Footer):
                last, end = key, file.tell()
        file.truncate(end)
    return last


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.replace(path)


def _not_an_export() -> SetupError:
    return SetupError("The file is not a whole export of this program; export again, or name another file.")
