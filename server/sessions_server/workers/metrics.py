"""Combines the metrics of all workers: each series has the worker's number in the label `worker`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from sessions_server.rpc.prometheus import SERVING
from sessions_server.workers.worker import Worker

SCRAPE_SECONDS: Final = 3.0
"""How long a worker may take to return its metrics; Prometheus waits for ten seconds."""

LABEL: Final = "worker"


def registry_of(workers: Sequence[Worker]) -> CollectorRegistry:
    """A registry with the workers' current metrics at each scrape."""
    registry = CollectorRegistry()
    registry.register(_OfAll(workers))
    return registry


class _OfAll(Collector):
    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        with ThreadPoolExecutor(len(self._workers)) as threads:
            scrapes = list(threads.map(_scrape, self._workers))
        families: dict[str, Metric] = {}
        for worker, scrape in zip(self._workers, scrapes, strict=True):
            for family in scrape:
                known = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                known.samples += (
                    sample._replace(labels={**sample.labels, LABEL: str(worker.number)})
                    for sample in family.samples
                )
        yield from families.values()


def _scrape(worker: Worker) -> list[Metric]:
    """The metrics of a worker. One that is not running or does not respond has a single metric: that it does not
    serve."""
    try:
        if worker.addresses is not None:
            return _fetch(worker.addresses.metrics)
    except (OSError, HTTPException):
        pass
    return [GaugeMetricFamily(*SERVING, value=0)]


def _fetch(address: str) -> list[Metric]:
    with closing(HTTPConnection(address, timeout=SCRAPE_SECONDS)) as connection:
        connection.request("GET", "/metrics", headers={"accept": "application/openmetrics-text"})
        text = connection.getresponse().read().decode()
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # it has no types
