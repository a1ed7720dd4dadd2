"""`serve --workers N`: starts the workers, restarts them when they exit, and stops all of them in order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from dataclasses import replace
from time import monotonic
from typing import Final

from sessions_server.exposure import check_exposure
from sessions_server.observability import configure_logging
from sessions_server.rpc.prometheus import serve_metrics
from sessions_server.serving import Ready, stop_at_signals
from sessions_server.settings import Settings, unknown_variables
from sessions_server.workers.metrics import registry_of
from sessions_server.workers.ports import check_workers, shared_ports
from sessions_server.workers.worker import Worker

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = (0.1, 30.0)
"""The first and longest pauses before a worker is restarted. The pause doubles with each exit, until a worker has
served for longer than the longest one."""


async def supervise(settings: Settings, *, ready: Ready) -> int:
    """Serves with several workers until SIGTERM, SIGINT or SIGHUP, after which all of them drain and exit.

    Returns the worst of their exit codes, as a shell would report them. Also returns when a worker cannot start and no
    other serves. Raises SetupError if the workers cannot share an address, or it is not free.
    """
    configure_logging(settings)
    for sentence in unknown_variables(os.environ):
        logger.warning("%s", sentence)
    check_exposure(settings)
    check_workers(settings)
    stop = stop_at_signals()
    with shared_ports(settings) as shared:
        own = replace(shared, metrics_listen="127.0.0.1:0" if settings.metrics_listen else "")
        workers = [Worker(number, own) for number in range(1, settings.workers + 1)]
        with serve_metrics(settings.metrics_listen, registry_of(workers)) as metrics:
            return await _run(workers, stop, lambda found: ready(found._replace(metrics=metrics)))


async def _run(workers: list[Worker], stop: asyncio.Event, ready: Ready) -> int:
    serving = asyncio.ensure_future(_serve(workers, ready))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        code = serving.result() if serving.done() else 0
    finally:
        serving.cancel()
        stopping.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        codes = await asyncio.gather(*(worker.stop() for worker in workers))
    return max(each if each >= 0 else 128 - each for each in (code, *codes))


async def _serve(workers: list[Worker], ready: Ready) -> int:
    """Serves as long as a worker does. Returns the exit code of the one that could not start.

    One starts before the others: it migrates the tables, and problems with the settings are reported once.
    """
    first, *others = workers
    if (addresses := await first.start()) is None:
        return await first.ended()
    started = await asyncio.gather(*(other.start() for other in others))
    for worker, found in zip(others, started, strict=True):
        if found is None:
            return await worker.ended()
    ready(addresses)
    keeping = [asyncio.ensure_future(_keep(worker, workers)) for worker in workers]
    try:
        done, _ = await asyncio.wait(keeping, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for each in keeping:
            each.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)


async def _keep(worker: Worker, workers: list[Worker]) -> int:
    """Restarts it whenever it exits. Returns its exit code if it cannot start and no other serves."""
    shortest, longest = PAUSE_SECONDS
    pause = shortest
    while True:
        began = monotonic()
        code = await worker.ended()
        if monotonic() - began > longest:
            pause = shortest
        logger.error("worker %d %s; it is started again in %g s", worker.number, _end(code), pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, longest)
        if await worker.start() is None and not any(each.addresses for each in workers):
            return await worker.ended()


def _end(code: int) -> str:
    """How a worker ended, from its exit code."""
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
