"""The path of every call, over any transport: authentication, limits, reading the request, running it, the outcome.

A driver (`rpc.grpc`, `http`) passes in the bytes and headers of a call, and gets back bytes or a single `Refused`.
Every error of a method leaves this module as that refusal; a call is cancelled only if its caller cancelled it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import uuid_utils

from sessions_server.domain.errors import DomainError, LimitExceeded, ShuttingDown, StreamAged, Unavailable
from sessions_server.domain.ports import Caller, Clock
from sessions_server.rpc.errors import (
    CANCELLED,
    FAULTS,
    OK,
    Internal,
    Refusal,
    Unimplemented,
    as_domain_error,
    printable,
    refusal,
)
from sessions_server.rpc.methods import REQUEST_BYTES, Method, Servicer, methods_of, too_large
from sessions_server.rpc.quotas import Bounds, Quota
from sessions_server.rpc.streams import StreamBounds, StreamKind, Streams, idle_limit

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from sessions_server.domain.ports import Authenticator
    from sessions_server.rpc.metrics import Metrics
    from sessions_server.rpc.tracing import Tracing

LARGE_BYTES: Final = 64 * 1024
"""Requests of this size or more count towards the bytes in flight; smaller ones are never refused for them."""

Headers = Collection[tuple[str, str | bytes]]
"""The headers of a call; names are in lower case."""
Write = Callable[[bytes], Awaitable[None]]

__all__ = [
    "REQUEST_BYTES",
    "Call",
    "CallLimits",
    "Calls",
    "Method",
    "Refused",
    "Transport",
    "Write",
    "too_large",
]
"""What drivers import."""

logger = logging.getLogger(__name__)


class Transport(NamedTuple):
    """What carries calls to this server."""

    name: str
    """The `rpc.system.name` in traces."""
    lost: tuple[type[BaseException], ...] = ()
    """Errors that writing to a disconnected caller raises."""


class Refused(Exception):
    """The status that a call ends with."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class CallLimits(NamedTuple):
    """What callers may use of this process at the same time."""

    streams: StreamBounds
    bytes_in_flight: Bounds
    """Bytes of large requests in progress."""
    import_bytes: int
    """The maximum size of one import."""
    idle_seconds: float
    """How long an import or export may be idle."""


@dataclass(slots=True)
class Call:
    """What is known about one call so far."""

    method: Method
    headers: Headers
    transport: Transport
    started: float
    caller: Caller | None = None
    """None until the call is admitted."""
    request: Message | None = None
    held: bool = False
    """Whether its bytes are counted already."""
    finished: bool = False
    made_id: str = ""

    @property
    def authorization(self) -> list[str | bytes]:
        return [value for key, value in self.headers if key == "authorization"]

    @property
    def request_id(self) -> str:
        """The request's id; if it has none, an id made for the log."""
        given = str(getattr(self.request, "request_id", ""))
        if given and len(given) <= 128:
            return given
        self.made_id = self.made_id or str(uuid_utils.uuid7())
        return self.made_id


class Calls:
    """All served methods, and the only way to call them."""

    def __init__(
        self,
        servicers: Iterable[Servicer],
        *,
        authenticator: Authenticator,
        clock: Clock,
        metrics: Metrics,
        limits: CallLimits,
        tracing: Tracing | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._metrics = metrics
        self._limits = limits
        self._bytes = Quota(
            self._limits.bytes_in_flight,
            Unavailable,
            server="The server's limit of request bytes in flight is reached; retry in a moment.",
            caller="This credential's limit of request bytes in flight is reached; retry in a moment.",
        )
        self.streams = Streams(self._limits.streams)
        self._tracing = tracing
        self._stopping = False
        self.arrived = 0
        """How many calls have come in so far."""
        self.services = tuple(servicer.SERVICE for servicer in servicers)
        self.methods: Mapping[str, Method] = {
            method.path: method for servicer in servicers for method in methods_of(servicer)
        }
        """By path, such as `/sessions.v1.SessionService/GetSession`."""

    def close(self) -> None:
        """Ends open streams and all further calls with SHUTTING_DOWN; other calls in progress continue."""
        self._stopping = True
        self.streams.end_all()

    def begin(self, method: Method, headers: Headers, transport: Transport) -> Call:
        """Registers a call that has come in."""
        self.arrived += 1
        return Call(method, headers, transport, time.perf_counter())

    @contextmanager
    def foreign_stream(self, headers: Headers) -> Iterator[None]:
        """Around a stream of another service: it needs a credential, counts as a subscription and ends with the server.
        Raises ShuttingDown, Unauthenticated, TooManyStreams, and the reason for which it was ended from outside."""
        self._check_running()
        given = [value for name, value in headers if name == "authorization"]

        def authenticate() -> Caller:
            return self._authenticator.authenticate(given, now=self._clock.now())

        with self.streams.open(authenticate(), authenticate, kind=StreamKind.OTHER):
            yield

    def admit(self, call: Call) -> Caller:
        """Admits a call by its headers alone, for a driver that reads the body afterwards. Raises Refused."""
        try:
            return self._admit(call)
        except DomainError as error:
            self.refuse(call, error)

    @contextmanager
    def hold(self, call: Call, size: int) -> Iterator[None]:
        """Counts a request's bytes as in flight while the context lasts; `run` does it for drivers that have not.
        Raises Unavailable at once if there would be too many."""
        if call.caller is None or size < LARGE_BYTES:
            yield
            return
        with self._bytes.hold(call.caller, size):
            call.held = True
            yield

    def run(
        self, call: Call, incoming: bytes | AsyncIterator[bytes], write: Write | None = None
    ) -> Coroutine[Any, Any, bytes]:
        """Runs a call and returns its response. A streaming method passes its responses to `write` instead.

        Raises Refused, or CancelledError if the caller disconnected.
        """
        running = self._run(call, incoming, write)
        return running if self._tracing is None else _traced(self._tracing, call, running)

    def refuse(self, call: Call, error: BaseException) -> NoReturn:
        """Ends a call with the status of the error: counts it, logs it and raises Refused. Raises CancelledError
        instead if the caller disconnected."""
        if _caller_disconnected(error, call.transport.lost):
            self._record_end(call, CANCELLED)
            raise asyncio.CancelledError from error
        known = as_domain_error(error, request_id=call.request_id)
        refused = refusal(known)
        self._record_end(call, refused.code.name, known, cause=error if isinstance(known, Internal) else None)
        raise Refused(refused) from None

    def unknown(self, path: str) -> Refused:
        """The refusal of a method that does not exist."""
        return self.rejected(path, Unimplemented())

    def rejected(self, path: str, error: DomainError) -> Refused:
        """The refusal of a request that is not a valid call of any method."""
        refused = refusal(error)
        facts = {"path": printable(path), "code": refused.code.name, "reason": error.reason}
        logger.info("rejected", extra={"facts": facts})
        self._metrics.handled("", refused.code.name)
        return Refused(refused)

    async def _run(self, call: Call, incoming: Any, write: Write | None) -> bytes:
        response: Message | bytes | None
        try:
            caller = call.caller or self._admit(call)
            if not call.method.unary:
                response = await self._stream(call, caller, incoming, write)
            elif call.held or len(incoming) < LARGE_BYTES:
                response = await call.method.run(self._read(call, incoming), caller)
            else:
                with self.hold(call, len(incoming)):
                    response = await call.method.run(self._read(call, incoming), caller)
            encoded = _encoded(response)
        except (Exception, asyncio.CancelledError) as error:
            self.refuse(call, error)
        self._record_end(call, OK)
        return encoded

    async def _stream(self, call: Call, caller: Caller, incoming: Any, write: Write | None) -> Message | None:
        method = call.method
        out = () if write is None else (self._idle_limited(write) if method.transfer else write,)
        with self._open_stream(call, caller):
            if method.descriptor.client_streaming:
                async with aclosing(self._read_all(call, caller, incoming)) as requests:
                    response: Message | None = await method.run(requests, caller, *out)
            else:
                response = await method.run(self._read(call, incoming), caller, *out)
        return response

    def _check_running(self) -> None:
        if self._stopping:
            raise ShuttingDown("The server is stopping; retry to reach another one.")

    def _admit(self, call: Call) -> Caller:
        self._check_running()
        call.caller = self._authenticate(call)
        return call.caller

    def _authenticate(self, call: Call) -> Caller:
        return self._authenticator.authenticate(
            call.authorization, now=self._clock.now(), needed=call.method.needed
        )

    def _read(self, call: Call, raw: bytes) -> Message:
        request = call.method.parse(raw)
        if call.request is None:
            call.request = request
            if self._tracing is not None:
                self._tracing.note(request)
        return request

    async def _read_all(
        self, call: Call, caller: Caller, raws: AsyncIterator[bytes]
    ) -> AsyncGenerator[Message]:
        """Yields the requests of a stream. A large one counts towards the bytes in flight until the next is
        requested."""
        async for raw in self._bounded_import(raws) if call.method.transfer else raws:
            if len(raw) < LARGE_BYTES:
                yield self._read(call, raw)
                continue
            with self._bytes.hold(caller, len(raw)):
                yield self._read(call, raw)

    async def _bounded_import(self, raws: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Ends an import that is too large or idle for too long."""
        total, most = 0, self._limits.import_bytes
        while True:
            async with idle_limit(self._limits.idle_seconds):
                raw = await anext(raws, None)
            if raw is None:
                return
            total += len(raw)
            if total > most:
                raise LimitExceeded(
                    f"An import has at most {most:,} bytes on this server. Ask its operator to raise "
                    "SESSIONS_MAX_IMPORT_BYTES.",
                    field="record",
                )
            yield raw

    def _idle_limited(self, write: Write) -> Write:
        """Ends the call if the reader accepts nothing for too long."""

        async def write_soon(response: bytes) -> None:
            async with idle_limit(self._limits.idle_seconds):
                await write(response)

        return write_soon

    @contextmanager
    def _open_stream(self, call: Call, caller: Caller) -> Iterator[None]:
        method = call.method
        counted = self._metrics.open_stream(method.name)
        recheck = functools.partial(self._authenticate, call)
        left = None if caller.expires_at is None else (caller.expires_at - self._clock.now()) / 1e6
        with self.streams.open(caller, recheck, kind=method.kind, expires_in=left), counted:
            yield

    def _record_end(
        self, call: Call, code: str, error: DomainError | None = None, *, cause: BaseException | None = None
    ) -> None:
        """Counts the call and logs it on one line, neither with any of its content."""
        call.finished = True
        seconds = time.perf_counter() - call.started
        method = call.method
        self._metrics.handled(method.name, code)
        if method.unary:
            self._metrics.took(method.name, seconds)
        level = _level(method, code, error)
        if logger.isEnabledFor(level):
            facts = {
                "method": method.name,
                "code": code,
                "duration_ms": round(seconds * 1000, 3),
                "request_id": printable(call.request_id),
                "tenant": call.caller.tenant if call.caller else "",
            }
            logger.log(level, "call", extra={"facts": facts}, exc_info=cause)


async def _traced(tracing: Tracing, call: Call, running: Coroutine[Any, Any, bytes]) -> bytes:
    with tracing.span(call.method.path, call.headers, call.transport.name) as span:
        try:
            response = await running
        except Refused as refused:
            span.ended(refused.refusal.code.name)
            raise
        span.ended(OK)
        return response


def _encoded(response: Message | bytes | None) -> bytes:
    """The bytes of a response; a method with a response stream returns None."""
    if response is None or isinstance(response, bytes):
        return response or b""
    return response.SerializeToString()


def _caller_disconnected(error: BaseException, lost: tuple[type[BaseException], ...]) -> bool:
    """Whether the call itself was cancelled or its connection lost, as opposed to something it was waiting for."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, lost)


def _level(method: Method, code: str, error: DomainError | None) -> int:
    """Server faults stand out. Callers' errors do not, nor do the routine ends of streams."""
    if code == OK and method.unary:
        return logging.DEBUG
    if isinstance(error, Internal):
        return logging.ERROR
    if code in FAULTS and not isinstance(error, (ShuttingDown, StreamAged)):
        return logging.WARNING
    return logging.INFO
