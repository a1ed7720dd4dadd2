"""Metrics and spans of write transactions, each of which may contain the commits of many calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence as Seq
from contextlib import contextmanager, nullcontext
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessions_server.rpc.metrics import Metrics
    from sessions_server.rpc.tracing import Tracing


class ObservedTransactions:
    """Implements the domain's TransactionObserver."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None, *, database: str) -> None:
        """`database` is OpenTelemetry's name for it, such as `postgresql`."""
        self._metrics = metrics
        self._tracing = tracing
        self._database = database

    def origin(self) -> object:
        return None if self._tracing is None else self._tracing.current()

    @contextmanager
    def transaction(self, origins: Seq[object]) -> Iterator[None]:
        began = monotonic()
        with nullcontext() if self._tracing is None else self._tracing.transaction(origins, self._database):
            yield
        self._metrics.committed(len(origins), monotonic() - began)
