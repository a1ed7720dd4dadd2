"""uvicorn's protocols with what they lack: a time limit for request heads, and flow control for HTTP/2 responses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent
    from uvicorn.config import Config
    from uvicorn.server import ServerState

HEAD_SECONDS: Final = 20.0
"""How long the head of a request may take from its first byte; for the first request, from the connection."""

PENDING_BYTES: Final = 64 * 1024
"""How much of a response may be buffered beyond an HTTP/2 reader's window."""


class Http1(HttpToolsProtocol):
    """HTTP/1.1 with a time limit for request heads (https://github.com/encode/uvicorn/issues/1171)."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._cancel_timer()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _cancel_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Http2(ZttpH2Protocol):
    """HTTP/2 that stops accepting a response once the reader's window is full. uvicorn waits only for the socket and
    buffers the rest in memory."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._moved = asyncio.Event()

    def handle_request(self, event: Any) -> None:
        super().handle_request(event)
        cycle = self.cycles.get(event.stream_id)
        if cycle is not None:
            send = cycle.send

            async def send_and_wait(message: ASGISendEvent) -> None:
                await send(message)
                while (cycle.stream.pending_bytes or 0) > PENDING_BYTES and not cycle.disconnected:
                    await self._moved.wait()

            cycle.send = send_and_wait  # type: ignore[method-assign]  # the application is given this method

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


class ByAlpn(asyncio.Protocol):
    """Picks the protocol that the client and the server agreed on during the TLS handshake."""

    alpn_protocols: ClassVar[list[str]] = ["h2", "http/1.1"]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._options: dict[str, Any] = {
            "config": config,
            "server_state": server_state,
            "app_state": app_state,
            "_loop": _loop,
        }

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        agreed = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        chosen = Http2(**self._options) if agreed == "h2" else Http1(**self._options)
        transport.set_protocol(chosen)
        chosen.connection_made(transport)
