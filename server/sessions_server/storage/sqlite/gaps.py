"""Clears the unused parts of a SQLite file's pages, where SQLite leaves copies of erased content.

With `secure_delete` SQLite overwrites what it deletes. But when it spreads the rows of a full page over several pages,
copies of the moved rows stay in the page's unallocated part, between its cell pointers and its cells, and survive the
later deletion of the rows. SQLite never reads them. This module will be unnecessary once `secure_delete` covers rows
moved by balancing (https://sqlite.org/pragma.html#pragma_secure_delete); until then the file format defines what is
unallocated: https://sqlite.org/fileformat2.html#b_tree_pages

The file is written without SQLite. So the caller must ensure that it is complete meanwhile, by holding SQLite's write
lock with an empty write-ahead log. Only unallocated bytes are written, so that a concurrent reader of a page, or a page
half written in a power failure, has the same rows.
"""

from __future__ import annotations

import os
import sqlite3
import time
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OLDEST_KNOWN: Final = (3, 35)
_NEWEST_KNOWN: Final = (3, 54)
"""The newest versions of SQLite with the page layout that this module knows."""

_FILE_HEADER: Final = Struct(">16xH2xB31xI44x")
"""The page size, the bytes reserved at the end of each page, and whether the file has pointer maps."""

_MAP_ENTRY_BYTES: Final = 5
_LOCK_BYTE: Final = 0x40000000
"""The page with this byte is never used: https://sqlite.org/fileformat2.html#the_lock_byte_page"""

_CELLS: Final = Struct(">HH")
"""The number of cells in a page, and where the first one begins."""

_HEADER_BYTES: Final = {2: 12, 5: 12, 10: 8, 13: 8}
"""The length of the header, by the first byte of a page of rows or keys. Other pages have no unallocated part."""

_MOST_PAGES: Final = 2 << 24
"""In a larger file, a page that starts with a page number could start with one of these bytes."""

_PAGES_AT_ONCE: Final = 256


class _Gap(NamedTuple):
    start: int
    length: int


class Gaps:
    """Passes over the file in rounds, for a bounded time per call.

    It must be opened before, and closed after, every connection of this process to the file: closing a file drops all
    locks that the process has on it.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._has_maps = False
        self._again = False
        self._at = 0
        self._left = 0

    @staticmethod
    def are_known(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
        """Whether this version of SQLite has a known file layout."""
        return _OLDEST_KNOWN <= version[:2] <= _NEWEST_KNOWN

    def close(self) -> None:
        os.close(self._file)

    def look_again(self) -> None:
        """Content was erased: every page must be checked from now on. May be called from any thread."""
        self._again = True

    @property
    def is_done(self) -> bool:
        return not self._left and not self._again

    def clear(self, seconds: float) -> int:
        """Continues the round for about this long. Returns how many pages it changed. Raises OSError."""
        deadline = time.monotonic() + seconds
        size, count = self._shape()
        if self._again:
            self._again, self._left = False, count
        self._left = min(self._left, count) if count < _MOST_PAGES else 0
        changed = 0
        while self._left > 0:
            self._at = self._at if self._at < count else 0
            pages = min(_PAGES_AT_ONCE, self._left, count - self._at)
            changed += self._clear(self._at, pages, size)
            self._at += pages
            self._left -= pages
            if time.monotonic() >= deadline:
                break
        return changed

    def _shape(self) -> tuple[int, int]:
        """The page size and the number of pages; no pages if they have checksums, which this server's own files do
        not."""
        header = os.pread(self._file, _FILE_HEADER.size, 0)
        if len(header) < _FILE_HEADER.size:
            return 0, 0
        size, reserved, maps = _FILE_HEADER.unpack(header)
        if reserved:
            return 0, 0
        size = 1 << 16 if size == 1 else size
        self._has_maps = bool(maps)
        return size, os.fstat(self._file).st_size // size

    def _clear(self, first: int, pages: int, size: int) -> int:
        changed = 0
        data = os.pread(self._file, pages * size, first * size)
        for gap in _gaps(data, first, size):
            if self._has_maps and _is_map(first + gap.start // size + 1, size):
                continue
            end = gap.start + gap.length
            if data.count(0, gap.start, end) < gap.length:
                os.pwrite(self._file, bytes(gap.length), first * size + gap.start)
                changed += 1
        if changed:  # sync here, so that its duration counts too
            os.fsync(self._file)
        return changed


def _is_map(number: int, size: int) -> bool:
    """Whether the page with this number, counted from 1, is a pointer map, which allows pages to be moved. These pages
    have no marker, but fixed places: https://sqlite.org/fileformat2.html#pointer_map_or_ptrmap_pages"""
    every = size // _MAP_ENTRY_BYTES + 1
    lock_page = _LOCK_BYTE // size + 1
    place = (number - 2) % every
    return number > 1 and (place == 1 if number - 1 == lock_page else place == 0 and number != lock_page)


def _gaps(data: bytes, first: int, size: int) -> Iterator[_Gap]:
    """The unallocated parts of several pages; `first` is the number of the first page."""
    for page in range(0, len(data) - size + 1, size):
        header = page + (_FILE_HEADER.size if first + page == 0 else 0)
        if (header_bytes := _HEADER_BYTES.get(data[header])) is None:
            continue
        cells, content = _CELLS.unpack_from(data, header + 3)
        start = header + header_bytes + 2 * cells
        end = page + (content or 1 << 16)  # 0 means 65,536
        if start < end <= page + size:
            yield _Gap(start, end - start)
