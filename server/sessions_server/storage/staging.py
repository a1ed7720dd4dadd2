"""Imports a session in slices. Each slice is a separate transaction, and nothing is visible before the last one.

All reads of a session start from its row, and only the last slice changes that row. Until then the session's log,
records and bases count as rows to erase: they are on the list of erasures, with a lease that each slice renews. While
this item is on the list, no session can be created under the id. If the import stops early, the eraser removes its rows
when the lease has ended.

An import that replaces a session stores its messages after the head of the session's log, where no reader looks, and
its records with a `records_start` that the session's row does not have yet. The session can be read meanwhile, but not
written, so that these positions stay free; its row says so. The last slice stores no messages or records: it changes
the row, which hides the old ones and shows the new ones, whatever their number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.domain.commit import Commit
from sessions_server.domain.errors import ImportCutShort
from sessions_server.domain.expiry import lapse
from sessions_server.domain.history import History
from sessions_server.domain.imports import Slice, Staged
from sessions_server.domain.lifecycle import require_content_writable
from sessions_server.domain.models import SECOND, Micros, Sequence
from sessions_server.domain.operations import ImportSession
from sessions_server.domain.workspace import Slot, Workspace
from sessions_server.storage.erasure import PUT_ERASURES, Erasure, What, of_session
from sessions_server.storage.load import Loaded
from sessions_server.storage.save import Saver
from sessions_server.storage.schema import erasures, sessions
from sessions_server.storage.statements import Prepared, read_clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Cells
    from sessions_server.storage.rules import Rules

LEASE: Final = Micros(30 * SECOND)
"""The longest time between two slices, including whatever else the server does in between."""

_IS_MARK: Final = (
    *of_session(erasures),
    erasures.c.what == sa.literal_column(f"'{What.IMPORT}'"),
    erasures.c.lease == sa.bindparam("of_lease"),
)
_SET_START: Final = Prepared(
    sessions.update().values(import_start=sa.bindparam("first")).where(*of_session(sessions))
)
_RENEW: Final = Prepared(
    erasures.update().values(lease=sa.bindparam("new_lease", type_=sa.BigInteger)).where(*_IS_MARK)
)
_GIVE_UP_ALL: Final = Prepared(erasures.update().values(lease=sa.null()).where(erasures.c.lease.is_not(None)))
_TAKE_AWAY: Final = Prepared(erasures.delete().where(*_IS_MARK))


def begin(connection: Connection, workspace: Workspace, opening: Commit) -> Staged | None:
    """Decides the opening, and stores only that the id is taken. Returns None if the request is a repetition, or the
    session's time is over: there is nothing to stage then. Raises what the opening raises, ImportUnderWay,
    StillErasing."""
    slot, request = workspace.slots[opening.key], opening.request
    if request is not None and request.id in slot.requests:
        return None
    through = workspace.apply(opening).session_after().last_sequence
    if slot.erased:
        return None
    first = Sequence(slot.loaded.last_sequence + 1)
    lease = Micros(workspace.now + LEASE)
    mark = Erasure(*opening.key, What.IMPORT, through=through, position=first, lease=lease)
    PUT_ERASURES.many(connection, [tuple(mark)])
    if slot.loaded.session is not None:
        _SET_START.run(connection, **mark.session, first=first)
    facts = slot.facts._replace(history=History())
    return Staged(opening, facts, lease, first, replaces=slot.loaded.session is not None)


def add(connection: Connection, staged: Staged, part: Slice, *, rules: Rules, now: Micros | None) -> Staged:
    """Stores the next slice. Raises ImportCutShort, MessageExists."""
    lease = Micros(read_clock(connection, now) + LEASE)
    _keep(connection, staged, lease)
    facts = staged.facts
    workspace = Workspace(facts.now, facts.limits, {facts.key: Slot(facts, facts)})
    workspace.apply(Commit(key=facts.key, operations=part, shows_session=False))
    records_start = staged.first if staged.replaces else Sequence(0)
    Saver(connection, Loaded(workspace), rules).stage(staged.first, records_start)
    after = workspace.slots[facts.key].facts
    return staged._replace(facts=after._replace(history=History()), lease=lease)


def release(connection: Connection, staged: Staged, slot: Slot, now: Micros) -> None:
    """Takes the import off the list of erasures, so that its session can be written. Raises ImportCutShort, and
    InvalidState if the session has expired since the import began."""
    if not _TAKE_AWAY.run(connection, **_mark(staged)):
        raise ImportCutShort
    if slot.loaded.session is not None:
        now_seen = lapse(slot.loaded.session, now).session
        if now_seen is None:
            raise ImportCutShort
        require_content_writable(now_seen)
    slot.importing = slot.erasing = False


def with_current_key(opening: Commit, cells: Cells) -> Commit:
    """Returns the opening with its data key under the keyring's current key, which may have changed since the import
    began. Raises KeyNotAvailable, DataCorrupted."""
    [operation] = opening.operations
    if not isinstance(operation, ImportSession) or operation.data_key is None:
        return opening
    data_key = cells.rewrap(*opening.key, operation.data_key) or operation.data_key
    return opening._replace(operations=(replace(operation, data_key=data_key),))


def give_up(connection: Connection, staged: Staged) -> None:
    """Ends the lease, if it is still this import's."""
    _RENEW.run(connection, **_mark(staged), new_lease=None)


def give_up_all(connection: Connection) -> None:
    """Ends all leases, while no process imports into the database."""
    _GIVE_UP_ALL.run(connection)


def _keep(connection: Connection, staged: Staged, lease: Micros) -> None:
    """Renews the lease. This locks the item, so the eraser waits for this transaction. Raises ImportCutShort."""
    if not _RENEW.run(connection, **_mark(staged), new_lease=lease):
        raise ImportCutShort


def _mark(staged: Staged) -> dict[str, object]:
    """The lease identifies the item: a later import of the same id begins after this lease has ended."""
    tenant, session_id = staged.facts.key
    return {"key_tenant": tenant, "key_session_id": session_id, "of_lease": staged.lease}
