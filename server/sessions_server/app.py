"""The composition root: the only module that imports every part. It starts them in order and stops them in reverse."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from sessions_server.domain.errors import DomainError
from sessions_server.domain.limits import Limits
from sessions_server.exposure import check_exposure
from sessions_server.log.hub import Hub
from sessions_server.log.writer import Announce, Writer
from sessions_server.observability import configure_logging
from sessions_server.optional_parts import handshakes_logged, open_http, open_metrics, open_tls, open_tracing
from sessions_server.replicas import open_draft_bus, open_drafts, open_wakeups
from sessions_server.rpc.calls import CallLimits, Calls
from sessions_server.rpc.commits import CommitServicer
from sessions_server.rpc.drafts import DraftServicer
from sessions_server.rpc.local import LocalServer
from sessions_server.rpc.methods import REQUEST_BYTES, Servicer
from sessions_server.rpc.metrics import Metrics
from sessions_server.rpc.quotas import Bounds
from sessions_server.rpc.records import RecordServicer
from sessions_server.rpc.server import RpcServer
from sessions_server.rpc.servicer import SessionServicer
from sessions_server.rpc.streams import StreamBounds
from sessions_server.rpc.transactions import ObservedTransactions
from sessions_server.security.encryption import open_cells
from sessions_server.security.tokens import open_authenticator
from sessions_server.service.expiry import Eraser, Sweeper
from sessions_server.service.records import StoredRecords
from sessions_server.service.rewrap import Rewrapper
from sessions_server.service.sessions import Sessions
from sessions_server.service.subscriptions import Subscriptions
from sessions_server.service.transfer import Transfers
from sessions_server.serving import Addresses, Ready, stop_at_signals
from sessions_server.settings import Settings, unknown_variables
from sessions_server.storage.backend import Backend, RunOptions
from sessions_server.storage.clock import SystemClock
from sessions_server.storage.databases import opening, parse_url
from sessions_server.storage.store import Store, open_store

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells, Clock
    from sessions_server.rpc.tracing import Tracing
    from sessions_server.service.drafts import Drafts

logger = logging.getLogger(__name__)

HEALTH_SECONDS = 1.0
"""How often the store is pinged."""

LOCAL_SHARE = 0.5
"""For how many of its callers the writer waits if they use a local socket, where answering them takes about as long as
their transaction."""

LEAST_SECONDS = 1.0
"""The minimum time for each step of shutdown, even if the grace is zero or used up."""


class Stopped(Exception):
    """SIGTERM, SIGINT or SIGHUP arrived before the server was ready."""


class ShutdownDeadline:
    """The time for an orderly shutdown, shared by the calls, then the writer, then the store."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None

    def begin(self) -> float:
        """Starts the clock on the first call. Returns the deadline, on the monotonic clock."""
        if self._end is None:
            self._end = monotonic() + self._seconds
        return self._end

    def left(self) -> float:
        return max(self.begin() - monotonic(), LEAST_SECONDS)


@dataclass(frozen=True, slots=True)
class Core:
    """Everything that the RPCs are built on, running."""

    backend: Backend
    store: Store
    writer: Writer
    hub: Hub
    sessions: Sessions
    subscriptions: Subscriptions
    drafts: Drafts
    transfers: Transfers
    limits: Limits
    cells: Cells
    grace: ShutdownDeadline


async def serve(
    settings: Settings, *, ready: Ready, clock: Clock | None = None, worker: int | None = None
) -> None:
    """Serves until SIGTERM, SIGINT or SIGHUP, then drains. Raises the same errors as `serve_until`.

    `worker` is this process's number if it is one of several workers.
    """
    with handshakes_logged(settings):
        configure_logging(settings, worker=worker)
        for sentence in unknown_variables(os.environ):
            logger.warning("%s", sentence)
        await serve_until(stop_at_signals(), settings, ready=ready, clock=clock)


async def serve_until(
    stop: asyncio.Event,
    settings: Settings,
    *,
    ready: Ready,
    clock: Clock | None = None,
    local: Path | None = None,
) -> None:
    """Serves until `stop` is set, then drains. Calls `ready` when the server is ready. `local` is the socket for unary
    calls of the clients that have started this server.

    Raises SetupError when a setting, a file or the database cannot be used.
    """
    check_exposure(settings)
    tls = open_tls(settings)
    with suppress(Stopped):
        async with running_core(settings, clock=clock, stop=stop, serves=True) as core:
            metrics = open_metrics(settings)
            _show_store(metrics, core.store)
            tracing = open_tracing()
            kind, _, _ = core.backend.scheme.partition("+")
            core.writer.observer = ObservedTransactions(metrics, tracing, database=kind)
            calls = _calls(settings, core, metrics, tracing, clock or SystemClock())
            rpc = RpcServer(
                settings.listen, calls=calls, metrics=metrics, tls=tls, shared=settings.workers > 1
            )
            http = open_http(settings, calls, tls)
            own = None if local is None else LocalServer(local, calls)
            if own is not None:
                core.writer.awaited_share = LOCAL_SHARE
            beside = [server for server in (http, own) if server is not None]
            await rpc.start()
            helpers = [asyncio.create_task(work) for work in (calls.streams.run(), _watch_store(core, rpc))]
            try:
                with metrics.served(settings.metrics_listen) as metrics_address:
                    for server in beside:
                        await server.start()
                    ready(Addresses(rpc.address, "" if http is None else http.url, metrics_address))
                    await stop.wait()
            finally:
                for helper in helpers:
                    helper.cancel()
                core.grace.begin()
                await core.drafts.close()
                seconds = settings.drain_grace.total_seconds()
                await asyncio.gather(*(server.stop(seconds) for server in (rpc, *beside)))


@asynccontextmanager
async def running_core(
    settings: Settings, *, clock: Clock | None = None, stop: asyncio.Event | None = None, serves: bool = False
) -> AsyncIterator[Core]:
    """Runs the store, the writer, the hub and the use cases until the context ends. On exit every submitted write is
    durable, unless the database does not respond within the grace. Expiry sweeps and wake-ups run only if `serves` is
    set: a command does only what it was asked to do. Raises Stopped if `stop` is set before the store is open."""
    cells = open_cells(settings.keyring)
    limits = settings.limits
    grace = ShutdownDeadline(settings.drain_grace.total_seconds())
    backend = parse_url(settings.database_url)
    with opening(backend):
        store = open_store(backend, cells=cells, limits=limits, options=_run_options(settings, clock))
    try:
        with opening(backend):
            await _unless_stopped(store.start(), stop)
        with _ungrouped():
            async with _running_log(
                settings, backend, store, cells, clock or SystemClock(), grace, serves=serves
            ) as core:
                yield core
    finally:
        await _close(store, grace)


def _run_options(settings: Settings, clock: Clock | None) -> RunOptions:
    return RunOptions(
        clock=clock,
        pool_size=settings.pool_size,
        clears_gaps=settings.scrub_pages,
        allow_unsafe=settings.allow_unsafe_durability,
    )


async def _unless_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event | None) -> None:
    if stop is None:
        return await work
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return await working
        raise Stopped
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait({asyncio.gather(working, return_exceptions=True)}, timeout=LEAST_SECONDS)


async def _close(store: Store, grace: ShutdownDeadline) -> None:
    """Lets the store finish within the grace. Whatever is still pending after that is cancelled when the event loop
    closes."""
    try:
        async with asyncio.timeout(grace.left()):
            await store.close()
    except TimeoutError:
        logger.warning("the database did not respond within the grace; pending operations are abandoned")


@contextmanager
def _ungrouped() -> Iterator[None]:
    """Raises a single exception bare instead of in the group that a task group puts it into."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None


@asynccontextmanager
async def _running_log(
    settings: Settings,
    backend: Backend,
    store: Store,
    cells: Cells,
    clock: Clock,
    grace: ShutdownDeadline,
    *,
    serves: bool,
) -> AsyncIterator[Core]:
    limits = settings.limits
    hub = Hub()
    backend.when_failed_over(hub.distrust_all)
    wakeups = open_wakeups(settings, backend, hub, store) if serves else None
    announce: Announce = wakeups.announce if wakeups is not None else hub.publish
    writer = Writer(store, announce=announce)
    sweeper = Sweeper(
        commits=writer,
        store=store,
        upkeep=store,
        rewrapper=Rewrapper(cells=cells, store=store),
        keyring=cells.keyring,
        interval_seconds=settings.sweep_interval.total_seconds(),
    )
    subscriptions = _subscriptions(settings, store, hub)
    eraser = Eraser(store, interval_seconds=settings.sweep_interval.total_seconds())
    bus = open_draft_bus(settings, backend, store) if serves else None
    drafts = open_drafts(settings, bus, store, writer, subscriptions, cells, clock)
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(writer.run())
        helpers = [tasks.create_task(work.run()) for work in (sweeper, eraser, drafts)] if serves else []
        if wakeups is not None:
            helpers.append(tasks.create_task(wakeups.run()))
        try:
            yield Core(
                backend=backend,
                store=store,
                writer=writer,
                hub=hub,
                sessions=Sessions(commits=writer, store=store, cells=cells, limits=limits),
                subscriptions=subscriptions,
                drafts=drafts,
                transfers=Transfers(commits=writer, store=store, cells=cells, clock=clock),
                limits=limits,
                cells=cells,
                grace=grace,
            )
        finally:
            for helper in helpers:
                helper.cancel()
            writer.close()
            await asyncio.wait({writing}, timeout=grace.left())
            writing.cancel()


def _subscriptions(settings: Settings, store: Store, hub: Hub) -> Subscriptions:
    seconds = settings.checkpoint_interval.total_seconds()
    return Subscriptions(store=store, hub=hub, checkpoint_seconds=seconds)


def _show_store(metrics: Metrics, store: Store) -> None:
    lane = store.lane
    metrics.show_searches(running=lambda: lane.running, waiting=lambda: lane.waiting)
    metrics.show_log(size=lambda: store.log_bytes, limit=lambda: store.log_limit_bytes)


def _calls(settings: Settings, core: Core, metrics: Metrics, tracing: Tracing | None, clock: Clock) -> Calls:
    metrics.show_drafts(core.drafts.count, core.drafts.size_bytes)
    servicers: list[Servicer] = [
        SessionServicer(
            sessions=core.sessions,
            subscriptions=core.subscriptions,
            drafts=core.drafts,
            transfers=core.transfers,
            limits=core.limits,
        ),
        DraftServicer(drafts=core.drafts, limits=core.limits),
        CommitServicer(sessions=core.sessions, limits=core.limits),
        RecordServicer(records=StoredRecords(core.store), limits=core.limits),
    ]
    return Calls(
        servicers,
        authenticator=open_authenticator(settings.tokens),
        clock=clock,
        metrics=metrics,
        limits=call_limits(settings),
        tracing=tracing,
    )


def call_limits(settings: Settings) -> CallLimits:
    """What callers may use of a process with these settings at the same time."""
    in_flight = settings.max_bytes_in_flight
    return CallLimits(
        streams=StreamBounds(
            Bounds(settings.max_streams, settings.max_streams_per_caller),
            Bounds(settings.max_transfers, settings.max_transfers_per_caller),
        ),
        bytes_in_flight=Bounds(in_flight, max(in_flight // 2, REQUEST_BYTES)),
        import_bytes=settings.max_import_bytes,
        idle_seconds=settings.transfer_idle.total_seconds(),
    )


async def _watch_store(core: Core, rpc: RpcServer) -> None:
    """Keeps health in step with the store, so that clients go elsewhere while the database is down. It continues after
    any error of the store, and logs each change once."""
    serving = True
    while True:
        try:
            await core.store.ping()
        except Exception as error:
            if serving:
                unexpected = not isinstance(error, DomainError)
                reason = core.backend.explain(error) or error
                logger.warning("the database cannot be used: %s", reason, exc_info=unexpected)
            serving = False
        else:
            if not serving:
                logger.info("the database can be used again")
            serving = True
        rpc.set_serving(serving)
        await asyncio.sleep(HEALTH_SECONDS)
