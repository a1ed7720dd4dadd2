"""A store, its writer and its sweeper in this process, so that tests control when it sweeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sessions_server.domain.limits import Limits
from sessions_server.log.writer import Writer
from sessions_server.service.expiry import Sweeper
from sessions_server.service.rewrap import Rewrapper
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.databases import parse_url
from sessions_server.storage.store import Store, open_store

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells
    from sessions_server.domain.workspace import Published
    from tests.support.clock import HandClock


@dataclass
class Replica:
    store: Store
    writer: Writer
    sweeper: Sweeper
    published: list[Published] = field(default_factory=list)
    """What was published to watchers."""


@asynccontextmanager
async def running_replica(url: str, clock: HandClock, cells: Cells) -> AsyncIterator[Replica]:
    store = open_store(
        parse_url(url),
        cells=cells,
        limits=Limits(),
        options=RunOptions(clock=clock, scrub_seconds=0.01, allow_unsafe=True),
    )
    await store.start()
    published: list[Published] = []
    writer = Writer(store, announce=published.extend)
    writing = asyncio.create_task(writer.run())
    sweeper = Sweeper(
        commits=writer,
        store=store,
        upkeep=store,
        rewrapper=Rewrapper(cells=cells, store=store),
        keyring=cells.keyring,
        interval_seconds=0.01,
    )
    try:
        yield Replica(store, writer, sweeper, published)
    finally:
        writer.close()
        await writing
        await store.close()
