"""What connects this process to the other replicas: wake-ups, and drafts visible on all replicas."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sessions_server.log.draft_nats import DraftNats
from sessions_server.log.draft_table import DraftTable
from sessions_server.log.nats import NatsChannel
from sessions_server.log.wakeups import Wakeups
from sessions_server.service.draft_boards import DraftBoards
from sessions_server.service.draft_exchange import DraftExchange
from sessions_server.service.drafts import Drafts

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells, Clock, Commits
    from sessions_server.domain.replica_ports import DraftBus
    from sessions_server.log.hub import Hub
    from sessions_server.service.subscriptions import Subscriptions
    from sessions_server.settings import Settings
    from sessions_server.storage.backend import Backend
    from sessions_server.storage.store import Store

logger = logging.getLogger(__name__)


def open_wakeups(settings: Settings, backend: Backend, hub: Hub, store: Store) -> Wakeups | None:
    """None on SQLite, where this process makes every write itself."""
    channel = backend.channel()
    if channel is None:
        if settings.wakeups:
            logger.warning("SESSIONS_WAKEUPS has no effect on SQLite, which has no other replicas")
        return None
    if settings.wakeups:
        channel = NatsChannel(settings.wakeups)
    return Wakeups(hub, channel=channel, store=store, poll_seconds=settings.poll_interval.total_seconds())


def open_draft_bus(settings: Settings, backend: Backend, store: Store) -> DraftBus | None:
    """None on SQLite, which has no other replicas."""
    if backend.channel() is None:
        return None
    return DraftNats(settings.wakeups) if settings.wakeups else DraftTable(store)


def open_drafts(
    settings: Settings,
    bus: DraftBus | None,
    store: Store,
    commits: Commits,
    subscriptions: Subscriptions,
    cells: Cells,
    clock: Clock,
) -> Drafts:
    boards = DraftBoards(subscriptions=subscriptions, most_bytes=settings.max_draft_bytes)
    exchange = DraftExchange(boards, bus, store=store, cells=cells, clock=clock)
    return Drafts(boards, exchange, commits=commits, store=store, clock=clock, limits=settings.limits)
