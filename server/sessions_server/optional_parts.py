"""The parts of a server that only some settings use. They are imported by the servers that use them: imports are most
of a start."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

from sessions_server.domain.errors import SetupError
from sessions_server.rpc.metrics import Metrics

if TYPE_CHECKING:
    from sessions_server.http.server import HttpServer
    from sessions_server.rpc.calls import Calls
    from sessions_server.rpc.tls import Tls
    from sessions_server.rpc.tracing import Tracing
    from sessions_server.settings import Settings

OTEL_PYTHON_TRACER_PROVIDER: Final = "OTEL_PYTHON_TRACER_PROVIDER"
"""The variable by which OpenTelemetry loads a tracer provider."""


def handshakes_logged(settings: Settings) -> AbstractContextManager[None]:
    """Logs failed TLS handshakes while the context lasts, if there can be any."""
    if settings.tls_cert is None:
        return nullcontext()
    from sessions_server.rpc.handshakes import logged_handshakes

    return logged_handshakes()


def open_tls(settings: Settings) -> Tls | None:
    """The TLS files. Raises SetupError if one is missing or unusable."""
    files = (settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    if not any(files):
        return None
    from sessions_server.rpc.tls import read_tls

    return read_tls(*files)


def open_metrics(settings: Settings) -> Metrics:
    """Counts nothing unless the metrics are served."""
    if not settings.metrics_listen:
        return Metrics()
    from sessions_server.rpc.prometheus import PrometheusMetrics

    return PrometheusMetrics()


def open_tracing() -> Tracing | None:
    """None if there is no tracer provider, as in a process that has not imported the package and names none."""
    if "opentelemetry.trace" not in sys.modules and OTEL_PYTHON_TRACER_PROVIDER not in os.environ:
        return None
    from sessions_server.rpc.tracing import Tracing

    return Tracing.configured()


def open_http(settings: Settings, calls: Calls, tls: Tls | None) -> HttpServer | None:
    """The HTTP server. Raises SetupError if the packages for it are not installed."""
    if not settings.http_listen:
        return None
    try:
        from sessions_server.http.server import HttpServer
    except ImportError as error:
        raise SetupError(
            f"SESSIONS_HTTP_LISTEN needs {error.name}; install the extra: `pip install 'sessions[http]'`."
        ) from error
    return HttpServer(
        settings.http_listen,
        calls=calls,
        hosts=_listed(settings.http_hosts),
        origins=_listed(settings.http_origins),
        tls=tls,
        shared=settings.workers > 1,
    )


def _listed(names: str) -> list[str]:
    return [name for each in names.split(",") if (name := each.strip())]
