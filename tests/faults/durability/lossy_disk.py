"""An in-memory disk under SQLite whose power fails. Synced data survives; a random part of the rest is lost.

Each unsynced write is kept, lost or torn at a sector, independently of earlier and later ones. That is the worst that a
disk with a write cache may do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import apsw

if TYPE_CHECKING:
    import random

SECTOR_BYTES: Final = 512

Overwrite: TypeAlias = tuple[int, bytes]
Pending: TypeAlias = "Overwrite | int"
"""Data at an offset, or the size to which the file is truncated."""


class PowerLostError(apsw.IOError):
    """The disk has lost power."""


@dataclass(slots=True)
class Content:
    durable: bytearray = field(default_factory=bytearray)
    seen: bytearray = field(default_factory=bytearray)
    """What reads return while the power is on."""
    pending: list[Pending] = field(default_factory=list)

    def apply(self, change: Pending) -> None:
        _apply(self.seen, change)
        self.pending.append(change)

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.durable, change)
        self.pending.clear()

    def lose_power(self, rng: random.Random) -> None:
        for change in self.pending:
            fate = rng.random()
            if isinstance(change, tuple) and fate < 0.2:
                kept = rng.randrange(len(change[1]) // SECTOR_BYTES + 1) * SECTOR_BYTES
                _apply(self.durable, (change[0], change[1][:kept]))
            elif fate < 0.6:
                _apply(self.durable, change)
        self.pending.clear()
        self.seen = bytearray(self.durable)


class LossyDisk(apsw.VFS):
    """Registered by name as a VFS. `lose_power_after` is the number of writes and syncs until the power fails."""

    def __init__(self, name: str, *, rng: random.Random) -> None:
        self.name = name
        self.lost = False
        self._rng = rng
        self._files: dict[str, Content] = {}
        self._left: int | None = None
        super().__init__(name, base="")

    def lose_power_after(self, operations: int) -> None:
        self._left = operations

    def restore_power(self) -> None:
        self.lost, self._left = False, None

    def step(self) -> None:
        """Counts a write or sync before it is done."""
        self.check()
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0:
            self.lost = True
            for content in self._files.values():
                content.lose_power(self._rng)
            raise PowerLostError

    def check(self) -> None:
        if self.lost:
            raise PowerLostError

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> OpenFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        content = Content() if path is None else self._files.setdefault(path, Content())
        flags[1] = flags[0]
        return OpenFile(self, content)

    def xAccess(self, pathname: str, flags: int) -> bool:
        return pathname in self._files

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.step()
        self._files.pop(filename, None)

    def xFullPathname(self, name: str) -> str:
        return name


class OpenFile(apsw.VFSFile):
    """Locks are not needed, since there is only one connection."""

    def __init__(self, disk: LossyDisk, content: Content) -> None:
        self._disk = disk
        self._content = content

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.check()
        return bytes(self._content.seen[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.step()
        self._content.apply((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        self._disk.step()
        self._content.apply(newsize)

    def xSync(self, flags: int) -> None:
        self._disk.step()
        self._content.sync()

    def xFileSize(self) -> int:
        return len(self._content.seen)

    def xFileControl(self, op: int, ptr: int) -> bool:
        return False

    def xDeviceCharacteristics(self) -> int:
        return 0

    def xSectorSize(self) -> int:
        return SECTOR_BYTES

    def xLock(self, level: int) -> None: ...

    def xUnlock(self, level: int) -> None: ...

    def xCheckReservedLock(self) -> bool:
        return False

    def xClose(self) -> None: ...


def _apply(target: bytearray, change: Pending) -> None:
    if isinstance(change, int):
        del target[change:]
        return
    offset, data = change
    target.extend(bytes(max(0, offset - len(target))))
    target[offset : offset + len(data)] = data
