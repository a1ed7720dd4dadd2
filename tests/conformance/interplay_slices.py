"""An import in slices, with arbitrary operations in between."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from sessions_server.domain.errors import ImportCutShort, ImportUnderWay, InvalidState, StillErasing
from sessions_server.domain.operations import ImportMessages
from sessions_server.domain.transfer import ContextRecord, Footer, Header, MessagesRecord
from tests.support import commits as c

if TYPE_CHECKING:
    import random
    from collections.abc import Collection

    from sessions_server.domain.commit import Commit, Committed
    from sessions_server.domain.imports import Slice, Staged
    from sessions_server.domain.models import Session, SessionKey
    from sessions_server.domain.transfer import ExportRecord
    from tests.conformance.harness import Harness
    from tests.conformance.interplay_model import Modelled


class HalfWay:
    """An import that is partly stored."""

    def __init__(self, at: SessionKey, exported: Modelled, staged: Staged, parts: list[Slice]) -> None:
        self.at = at
        self.exported = exported
        self._staged = staged
        self._parts = parts

    @classmethod
    async def begin(
        cls,
        bench: Harness,
        at: SessionKey,
        records: list[ExportRecord],
        exported: Modelled,
        data_key: bytes | None,
    ) -> HalfWay | None:
        """None if nothing can be imported with the id now."""
        header, context, *rest, footer = records
        assert isinstance(header, Header)
        assert isinstance(context, ContextRecord)
        assert isinstance(footer, Footer)
        opening = c.import_session(
            key=at,
            exported=header.session,
            context=context.data,
            message_count=footer.message_count,
            data_key=data_key,
            log_id=uuid4().hex,
        )
        try:
            staged = await bench.store.transact(lambda tx: tx.begin_import(opening))
        except (StillErasing, ImportUnderWay, InvalidState):
            return None
        if staged is None:
            return None
        messages = [each for part in rest if isinstance(part, MessagesRecord) for each in part.messages]
        parts: list[Slice] = [
            (ImportMessages(tuple(messages[n : n + 2])),) for n in range(0, len(messages), 2)
        ]
        return cls(at, exported, staged, parts)

    async def advance(self, bench: Harness, rng: random.Random) -> tuple[bool, Session | None]:
        """Whether it is over, and the session if it is complete."""
        try:
            return await self._advance(bench, rng)
        except (ImportCutShort, InvalidState):  # too late, or the session's time is over
            await self._give_up(bench)
            return True, None

    async def _advance(self, bench: Harness, rng: random.Random) -> tuple[bool, Session | None]:
        staged = self._staged
        if rng.random() < 0.1:
            await self._give_up(bench)
            return True, None
        if self._parts:
            part = self._parts.pop(0)
            self._staged = await bench.store.transact(lambda tx: tx.add_to_import(staged, part))
            return False, None
        committed, _ = await bench.store.transact(lambda tx: tx.end_import(staged))
        return True, committed.session_after()

    async def _give_up(self, bench: Harness) -> None:
        staged = self._staged
        await bench.store.transact(lambda tx: tx.give_up_import(staged))


async def unless_importing(
    bench: Harness, replacing: Collection[SessionKey], commit: Commit
) -> Committed | None:
    """None if one of the imports that replace sessions is under way, or is being erased."""
    try:
        return await bench.commit(commit)
    except (StillErasing, ImportUnderWay):
        assert commit.key in replacing
        return None
