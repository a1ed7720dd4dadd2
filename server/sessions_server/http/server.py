"""The HTTP server: its port, TLS and timeouts. uvicorn serves HTTP in the caller's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import uvicorn

from sessions_server.domain.errors import SetupError
from sessions_server.http.application import Application
from sessions_server.http.heads import Sites
from sessions_server.http.protocols import ByAlpn, Http1
from sessions_server.rpc.calls import Calls

if TYPE_CHECKING:
    from sessions_server.rpc.tls import Tls

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS: Final = 75
BACKLOG: Final = 2048


class HttpServer:
    def __init__(
        self,
        bind: str,
        *,
        calls: Calls,
        hosts: Sequence[str] = (),
        origins: Sequence[str] = (),
        tls: Tls | None = None,
        shared: bool = False,
    ) -> None:
        """With `shared` other processes may listen at the same address, and get some of the connections."""
        self.address = bind
        """The address; after the start it has the port that was actually bound."""
        host = bind.rpartition(":")[0]
        application = Application(calls, Sites([host, *hosts], origins))
        self._tls = tls
        self._shared = shared
        self._config = uvicorn.Config(
            application,
            http=Http1 if tls is None else ByAlpn,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            backlog=BACKLOG,
        )
        self._server = _Server(self._config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://{self.address}"

    async def start(self) -> None:
        """Binds and serves. Raises SetupError if the address or the TLS files cannot be used."""
        if self._tls is not None:
            context = _Handshakes(self._tls).context
            self._config.ssl_context_factory = lambda *_: context
        listening = self._bind()
        # Connections are accepted from here on, and wait until the task has started.
        self._serving = asyncio.create_task(self._server.serve([listening]))
        host, port = self.address.rpartition(":")[0], listening.getsockname()[1]
        self.address = f"{host}:{port}"

    async def stop(self, grace_seconds: float) -> None:
        """Stops accepting connections, gives requests this many seconds to finish, and cancels the rest."""
        if self._serving is None:
            return
        self._config.timeout_graceful_shutdown = max(1, round(grace_seconds))
        self._server.should_exit = True
        await self._serving

    def _bind(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        name = host.strip("[]")
        try:
            family = socket.AF_INET6 if ":" in name else socket.AF_INET
            listening = socket.create_server(
                (name, int(port)), family=family, backlog=BACKLOG, reuse_port=self._shared
            )
        except OSError as error:
            raise SetupError(
                f"HTTP cannot be served at {self.address} ({error.strerror}); give SESSIONS_HTTP_LISTEN a free "
                "address and port, or leave it empty."
            ) from error
        listening.setblocking(False)
        return listening


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the owner of the event loop."""
        yield


class _Handshake(ssl.SSLObject):
    """A TLS handshake that reports its failure, which asyncio would ignore."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if isinstance(self.context, _Context):
                self.context.failed(error.reason or str(error), getattr(error, "verify_message", ""))
            raise


class _Context(ssl.SSLContext):
    sslobject_class = _Handshake
    failed: Callable[[str, str], None]


class _Handshakes:
    """Loads changed files at the next handshake. If they cannot be used it logs that and keeps the old ones."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._stamp = tls.stamp()
        self.context = self._load()

    def _load(self) -> ssl.SSLContext:
        self._tls.read()
        context = _Context(ssl.PROTOCOL_TLS_SERVER)
        context.failed = self._tls.handshake_failed
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._tls.certificate, self._tls.key)
        if self._tls.client_ca is not None:
            context.load_verify_locations(self._tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(ByAlpn.alpn_protocols)
        context.sni_callback = self._begin
        return context

    def _begin(self, connection: ssl.SSLObject | ssl.SSLSocket, _: str | None, __: ssl.SSLContext) -> None:
        with contextlib.suppress(OSError):
            stamp = self._tls.stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                self._reload()
        connection.context = self.context

    def _reload(self) -> None:
        try:
            self.context = self._load()
        except (SetupError, ssl.SSLError) as error:
            logger.error("the changed TLS files are not used over HTTP: %s", error)
        else:
            logger.info("the changed TLS files are in use over HTTP")
