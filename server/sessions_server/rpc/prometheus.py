"""Metrics for Prometheus: calls by method and code, their durations, open streams, transactions, and the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)

from sessions_server.domain.errors import SetupError
from sessions_server.rpc.metrics import Metrics

SERVING: Final = ("sessions_serving", "1 while the database can be used and calls are taken, else 0.")
"""The metric that says whether a server serves: its name, and what it means."""

_COMMITS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class PrometheusMetrics(Metrics):
    """Cheap enough for every call: labelled children are looked up once and kept."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._handled = Counter(
            "sessions_rpc_handled", "Calls that were answered.", ("method", "code"), registry=registry
        )
        self._seconds = Histogram(
            "sessions_rpc_seconds",
            "How long unary calls took.",
            ("method",),
            registry=registry,
            buckets=_SECONDS,
        )
        self._open_streams = Gauge(
            "sessions_rpc_open_streams", "Streams that are open now.", ("method",), registry=registry
        )
        self._serving = Gauge(*SERVING, registry=registry)
        self._commit_seconds = Histogram(
            "sessions_transaction_seconds",
            "How long write transactions took, until they were durable.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._commit_size = Histogram(
            "sessions_transaction_commits",
            "Commits in a write transaction.",
            registry=registry,
            buckets=_COMMITS,
        )
        ProcessCollector(registry=registry)
        self._drafts = Gauge("sessions_drafts", "Messages that are being written now.", registry=registry)
        self._draft_bytes = Gauge(
            "sessions_draft_bytes", "Bytes of the messages that are being written now.", registry=registry
        )
        self._handled_children: dict[tuple[str, str], Counter] = {}
        self._seconds_children: dict[str, Histogram] = {}

    def handled(self, method: str, code: str) -> None:
        child = self._handled_children.get((method, code))
        if child is None:
            child = self._handled_children[method, code] = self._handled.labels(method, code)
        child.inc()

    def took(self, method: str, seconds: float) -> None:
        child = self._seconds_children.get(method)
        if child is None:
            child = self._seconds_children[method] = self._seconds.labels(method)
        child.observe(seconds)

    def committed(self, number: int, seconds: float) -> None:
        self._commit_size.observe(number)
        self._commit_seconds.observe(seconds)

    def serving(self, is_serving: bool, /) -> None:
        self._serving.set(is_serving)

    def show_drafts(self, count: Callable[[], int], size: Callable[[], int]) -> None:
        self._drafts.set_function(count)
        self._draft_bytes.set_function(size)

    @contextmanager
    def open_stream(self, method: str) -> Iterator[None]:
        gauge = self._open_streams.labels(method)
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()

    def show_searches(self, *, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        self._show("sessions_searches_running", "Searches that run now.", running)
        self._show("sessions_searches_waiting", "Searches that wait for their turn.", waiting)

    def show_log(self, *, size: Callable[[], int], limit: Callable[[], int]) -> None:
        self._show("sessions_sqlite_log_bytes", "The size of SQLite's write-ahead log.", size)
        self._show("sessions_sqlite_log_limit_bytes", "The size at which it is truncated.", limit)

    @contextmanager
    def served(self, listen: str) -> Iterator[str]:
        with serve_metrics(listen, self.registry) as address:
            yield address

    def _show(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that is evaluated at each scrape."""
        Gauge(name, text, registry=self.registry).set_function(read)


@contextmanager
def serve_metrics(listen: str, registry: CollectorRegistry) -> Iterator[str]:
    """Serves Prometheus metrics at `HOST:PORT` while the context lasts; does nothing if the address is empty. Yields
    the address with the port that was actually bound.

    Raises SetupError if it cannot listen there.
    """
    if not listen:
        yield ""
        return
    host, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except (OSError, OverflowError, ValueError) as error:
        raise SetupError(
            f"Metrics cannot be served at {listen} ({error}); give a free address and port."
        ) from error
    try:
        yield f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
