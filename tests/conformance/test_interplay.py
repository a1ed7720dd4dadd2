"""Random histories of a few sessions, with small limits: in any order of operations, reads match a simple model.

Operations use different code paths at large sizes. The thresholds are set so low here that nearly every operation uses
those, and meets what earlier ones have left unfinished.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest
import sqlalchemy as sa

from sessions_server.domain.errors import (
    EventsCompacted,
    SessionNotFound,
)
from sessions_server.domain.models import (
    SECOND,
    EventType,
    Message,
    Sequence,
    Session,
)
from sessions_server.domain.ports import HistoryQuery
from sessions_server.service import transfer
from sessions_server.storage import (
    bases as along_logs,
    compaction,
    erasure,
    large_sessions,
    past,
    recent_contexts,
    removal,
    staging,
)
from sessions_server.storage.schema import bases, contexts, log, requests
from tests.conformance.harness import key
from tests.conformance.interplay import Acts
from tests.conformance.interplay_model import (
    FEW,
    KEYS,
    SEED,
    STEP,
    Modelled,
    words_of,
)
from tests.conformance.recent import checked_recent
from tests.support import commits as c

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.ports import Cells
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

STEPS: Final = 160
STEPS_POSTGRES: Final = 50
LEASE_SECONDS: Final = 300
"""Of imports that come in slices: most of them come to their end."""


def _beside_now(session: Session, now: Session) -> Session:
    """Combines a past state with the fields that it takes from the present."""
    return session._replace(
        data_key=now.data_key,
        log_id=now.log_id,
        log_start=now.log_start,
        history_start=now.history_start,
    )


class Interplay(Acts):
    """The sessions, and what reads of them must return."""

    async def check(self) -> None:
        await checked_recent(self.bench.store)
        for at in KEYS:
            session, store = self.sessions.get(at), self.bench.store
            if session is None:
                for read in (store.session(at), store.context(at), store.history(at, HistoryQuery(5))):
                    with pytest.raises(SessionNotFound):
                        await read
                continue
            await self._check(at, session)

    async def _check(self, at: SessionKey, session: Modelled) -> None:
        store = self.bench.store
        stored = await store.session(at)
        assert (stored.message_count, stored.last_sequence) == (len(session.messages), session.head)
        assert stored.config.max_messages == session.most
        assert stored.history_head == max(session.messages, default=0)
        assert (await store.context(at)).data == session.context
        everything = sorted(session.messages)
        assert await self._history(at, HistoryQuery(1_000)) == [(p, *session.messages[p]) for p in everything]
        if everything:
            middle = self._random.choice(everything)
            assert [p for p, *_ in await self._history(at, HistoryQuery(3, before=Sequence(middle)))] == [
                p for p in everything if p < middle
            ][-3:]
            assert [p for p, *_ in await self._history(at, HistoryQuery(3, after=Sequence(middle)))] == [
                p for p in everything if p > middle
            ][:3]
        for position in self._random.sample(sorted(session.past), min(4, len(session.past))):
            await self._check_past(at, session, position, stored)
        await self._check_log(at, session, stored)

    async def _history(self, at: SessionKey, query: HistoryQuery) -> list[tuple[int, str, str]]:
        page = await self.bench.store.history(at, query)
        return [(each.sequence, each.id, each.body.content) for each in page.messages]

    async def _check_past(self, at: SessionKey, session: Modelled, position: int, stored: Session) -> None:
        store = self.bench.store
        then, context = session.past[position]
        try:
            found = await store.session(at, Sequence(position))
            data = (await store.context(at, Sequence(position))).data
            history = await self._history(at, HistoryQuery(1_000, at=Sequence(position)))
        except EventsCompacted as error:
            self._check_compacted(at, position, error)
            return
        assert position >= session.oldest, (at, position, session.oldest)
        assert _beside_now(found, stored) == _beside_now(then, stored), (at, position)
        assert data == context, (at, position)
        assert history == [(p, *session.messages[p]) for p in sorted(session.messages) if p <= position]

    async def _check_log(self, at: SessionKey, session: Modelled, stored: Session) -> None:
        after = Sequence(stored.log_start - 1)
        while True:
            page = await self.bench.store.log(at, after, 7, changes=True)
            assert page.head == session.head
            assert page.log_id == stored.log_id
            if not page.events:
                break
            for event in page.events:
                assert event.sequence == after + 1
                after = event.sequence
                if event.type is EventType.MESSAGE:
                    shown = event.data
                    assert shown is None or isinstance(shown, Message)
                    found = None if shown is None else (shown.id, shown.body.content)
                    assert found == session.messages.get(after), (at, after)
        assert after == session.head

    async def check_erased(self) -> None:
        """After all steps no table has any erased content."""
        self._clock.turn(seconds=LEASE_SECONDS)
        self._lapse()
        await self._erase_all()  # no session expires while the rest of an import is erased under its id
        for due in await self.bench.due(10):
            await self.bench.commit(c.expire(key=due))
        await self._erase_all()

        assert await self.bench.store._runner.read(_left, snapshot=True) == 0
        for session_id, value in await self.bench.store._runner.read(_stored, snapshot=True):
            session = self.sessions.get(key(session_id))
            known = set() if session is None else session.words
            assert self._encrypted or words_of(value) <= known, (session_id, value)
        await self.check()

    async def _erase_all(self) -> None:
        while await self.bench.store.erase(STEP):
            pass


def _left(connection: Connection) -> int:
    """How many rows are hidden or waiting to be erased."""
    hidden = sa.text("SELECT count(*) FROM sessions WHERE hidden IS NOT NULL")
    listed = sa.text("SELECT count(*) FROM erasures")
    return int(connection.execute(hidden).scalar_one()) + int(connection.execute(listed).scalar_one())


def _stored(connection: Connection) -> list[tuple[str, str]]:
    """All stored content, with the ids of its sessions."""
    columns = (log.c.payload, log.c.change, contexts.c.data, bases.c.data, requests.c.answer)
    return [
        (session_id, bytes(value).decode(errors="replace"))
        for column in columns
        for session_id, value in connection.execute(
            sa.select(column.table.c.session_id, column).where(column.is_not(None))
        )
    ]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(along_logs, "EVENTS", 8)
    monkeypatch.setattr(staging, "LEASE", LEASE_SECONDS * SECOND)
    monkeypatch.setattr(transfer, "SLICE_ROWS", 2)
    monkeypatch.setattr(transfer, "MESSAGES_PER_RECORD", 1)
    monkeypatch.setattr(erasure, "_random", random.Random(SEED))
    monkeypatch.setattr(removal, "FEW", FEW)
    monkeypatch.setattr(large_sessions, "FEW", FEW)
    of_answers = large_sessions._having_many(requests, erasure.HAS_ANSWER)
    monkeypatch.setattr(large_sessions, "_WITH_MANY_ANSWERS", of_answers)
    monkeypatch.setattr(recent_contexts, "SMALLEST_BYTES", 64)
    monkeypatch.setattr(past, "_AT_ONCE", 5)
    monkeypatch.setattr(past, "_BYTES_AT_ONCE", 100)
    monkeypatch.setattr(compaction, "_EVENTS_AT_ONCE", 20)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_reads_equal_the_model(
    url: str, opener: Opener, clock: HandClock, cells: Cells, encrypted: bool
) -> None:
    replicas = 2 if url.startswith("postgres") else 1
    interplay = Interplay(lambda: opener(url), clock, cells, encrypted=encrypted, replicas=replicas)
    interplay.outlives_stores = ":memory:" not in url
    await interplay.start()
    try:
        for number in range(1, (STEPS if replicas == 1 else STEPS_POSTGRES) + 1):
            await interplay.step()
            if number % 2 == 0:
                await interplay.check()
            if number % 40 == 0:
                await interplay.check_erased()
        await interplay.check_erased()
    except BaseException as error:
        error.add_note("\n".join(interplay.trace[-30:]))
        raise
    finally:
        await interplay.close()
