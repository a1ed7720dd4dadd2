"""What every call passes, whatever brought it: who calls, whether they may, what they ask, how it ended.

A driver (`rpc.grpc`, `http`) hands over the bytes of a call and what came with them, and gets bytes back or the one
`Refused` of the call. Whatever a method raises leaves this module as that refusal, and a call is cancelled only if its
caller cancelled it.
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
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import structlog
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
from sessions_server.rpc.methods import REQUEST_BYTES, Method, Servicer, methods_of
from sessions_server.rpc.quotas import Bounds, Quota
from sessions_server.rpc.streams import StreamBounds, Streams

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from sessions_server.domain.ports import Authenticator
    from sessions_server.rpc.metrics import Metrics
    from sessions_server.rpc.tracing import Tracing

LARGE_BYTES: Final = 64 * 1024
"""From this size on a request counts towards the bytes in flight; smaller ones are never refused for those."""

Headers = Collection[tuple[str, str | bytes]]
"""What came with a call, names in lower case."""
Write = Callable[[bytes], Awaitable[None]]

__all__ = ["REQUEST_BYTES", "Call", "CallLimits", "Calls", "Method", "Refused", "Transport", "Write"]
"""What a driver needs."""

logger = structlog.stdlib.get_logger(__name__)
_levels = logging.getLogger(__name__)


class Transport(NamedTuple):
    """What brings calls here."""

    name: str
    """Its `rpc.system.name` in traces."""
    lost: tuple[type[BaseException], ...] = ()
    """What writing to a caller that went away raises."""


class Refused(Exception):
    """The status that a call ends with."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class CallLimits(NamedTuple):
    """What callers may take of this process at the same time."""

    streams: StreamBounds = StreamBounds()
    bytes_in_flight: Bounds = Bounds(in_all=128 * 1024 * 1024, per_caller=64 * 1024 * 1024)
    """Bytes of large requests that are being handled."""
    import_bytes: int = 1024 * 1024 * 1024
    """Of one import."""
    idle_seconds: float = 60.0
    """How long an import or export may stand still."""


@dataclass(slots=True)
class Call:
    """What is known of one call so far."""

    method: Method
    headers: Headers
    transport: Transport
    started: float
    caller: Caller | None = None
    """Who calls; None until the call is admitted."""
    request: Message | None = None
    held: bool = False
    """Whether its bytes count already."""
    finished: bool = False
    made_id: str = ""

    @property
    def authorization(self) -> list[str | bytes]:
        return [value for key, value in self.headers if key == "authorization"]

    @property
    def request_id(self) -> str:
        """The request's own id, or one that is made for the log."""
        given = str(getattr(self.request, "request_id", ""))
        if given and len(given) <= 128:
            return given
        self.made_id = self.made_id or str(uuid_utils.uuid7())
        return self.made_id


class Calls:
    """Every method that is served, and the one way into it."""

    def __init__(
        self,
        servicers: Iterable[Servicer],
        *,
        authenticator: Authenticator,
        clock: Clock,
        metrics: Metrics,
        limits: CallLimits | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._metrics = metrics
        self._limits = limits or CallLimits()
        self._bytes = Quota(
            self._limits.bytes_in_flight,
            Unavailable,
            server="The server is busy with as many bytes of requests as it may hold; retry in a moment.",
            caller="This credential has as many bytes of requests in flight as it may; retry in a moment.",
        )
        self.streams = Streams(self._limits.streams)
        self._tracing = tracing
        self._stopping = False
        self.arrived = 0
        """How many calls came so far."""
        self.services = tuple(servicer.SERVICE for servicer in servicers)
        self.methods: Mapping[str, Method] = {
            method.path: method for servicer in servicers for method in methods_of(servicer)
        }
        """By path, such as `/sessions.v1.SessionService/GetSession`."""

    def close(self) -> None:
        """From now on every new call ends with SHUTTING_DOWN, and so does every open stream; other calls continue."""
        self._stopping = True
        self.streams.end_all()

    def begin(self, method: Method, headers: Headers, transport: Transport) -> Call:
        """A call that has come in, and is to be run."""
        self.arrived += 1
        return Call(method, headers, transport, time.perf_counter())

    def check_credential(self, headers: Headers) -> None:
        """Judges what came with something other than a call of the service. Raises Unauthenticated."""
        given = [value for name, value in headers if name == "authorization"]
        self._authenticator.authenticate(given, now=self._clock.now())

    def admit(self, call: Call) -> Caller:
        """Judges a call by what came with it, for a driver that wants to know before it reads the rest. Raises
        Refused."""
        try:
            return self._admit(call)
        except DomainError as error:
            self.refuse(call, error)

    @contextmanager
    def hold(self, call: Call, size: int) -> Iterator[None]:
        """Counts a request's bytes as in flight, as long as the context lasts; `run` does so itself where its driver
        has not. Raises Unavailable at once when there would be too many."""
        if call.caller is None or size < LARGE_BYTES:
            yield
            return
        with self._bytes.hold(call.caller, size):
            call.held = True
            yield

    async def run(
        self, call: Call, incoming: bytes | AsyncIterator[bytes], write: Write | None = None
    ) -> bytes:
        """Runs a call. Returns its response; a method that streams its responses gives them to `write` instead.

        Raises Refused, or CancelledError when the caller went away.
        """
        if self._tracing is None:
            return await self._run(call, incoming, write)
        with self._tracing.span(call.method.path, call.headers, call.transport.name) as span:
            try:
                response = await self._run(call, incoming, write)
            except Refused as refused:
                span.ended(refused.refusal.code.name)
                raise
            span.ended(OK)
            return response

    def refuse(self, call: Call, error: BaseException) -> NoReturn:
        """Ends a call with the status that belongs to the error: counted, logged, and raised as Refused. Raises
        CancelledError instead when the caller went away."""
        if _caller_is_gone(error, call.transport.lost):
            self._finished(call, CANCELLED)
            raise asyncio.CancelledError from error
        known = as_domain_error(error, request_id=call.request_id)
        refused = refusal(known)
        self._finished(call, refused.code.name, known, cause=error if isinstance(known, Internal) else None)
        raise Refused(refused) from None

    def unknown(self, path: str) -> Refused:
        """The refusal of a method that is not served."""
        return self.rejected(path, Unimplemented())

    def rejected(self, path: str, error: DomainError) -> Refused:
        """The refusal of what is no call of a method, or came in a form that its transport does not know."""
        refused = refusal(error)
        logger.info("rejected", path=printable(path), code=refused.code.name, reason=error.reason)
        self._metrics.handled("", refused.code.name)
        return Refused(refused)

    async def _run(self, call: Call, incoming: Any, write: Write | None) -> bytes:
        try:
            caller = call.caller or self._admit(call)
            if not call.method.unary:
                encoded = await self._stream(call, caller, incoming, write)
            elif call.held or len(incoming) < LARGE_BYTES:
                encoded = await self._unary(call, caller, incoming)
            else:
                with self.hold(call, len(incoming)):
                    encoded = await self._unary(call, caller, incoming)
        except (Exception, asyncio.CancelledError) as error:
            self.refuse(call, error)
        self._finished(call, OK)
        return encoded

    async def _unary(self, call: Call, caller: Caller, raw: bytes) -> bytes:
        response: Message = await call.method.run(self._read(call, raw), caller)
        return response.SerializeToString()

    async def _stream(self, call: Call, caller: Caller, incoming: Any, write: Write | None) -> bytes:
        method = call.method
        out = () if write is None else (self._hurried(write) if method.transfer else write,)
        with self._open_stream(call, caller):
            if method.descriptor.client_streaming:
                async with aclosing(self._read_all(call, caller, incoming)) as requests:
                    response: Message | None = await method.run(requests, caller, *out)
            else:
                response = await method.run(self._read(call, incoming), caller, *out)
        return b"" if response is None else response.SerializeToString()

    def _admit(self, call: Call) -> Caller:
        if self._stopping:
            raise ShuttingDown("The server is stopping; retry, and another one will answer.")
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
        """The requests of a stream. A large one counts towards the bytes in flight until the next is asked for."""
        async for raw in self._of_transfer(raws) if call.method.transfer else raws:
            if len(raw) < LARGE_BYTES:
                yield self._read(call, raw)
                continue
            with self._bytes.hold(caller, len(raw)):
                yield self._read(call, raw)

    async def _of_transfer(self, raws: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Gives up on an import that is too large, or stands still for too long."""
        total, most = 0, self._limits.import_bytes
        while True:
            async with _moving(self._limits.idle_seconds):
                raw = await anext(raws, None)
            if raw is None:
                return
            total += len(raw)
            if total > most:
                raise LimitExceeded(
                    f"An import has at most {most} bytes on this server; have SESSIONS_MAX_IMPORT_BYTES raised.",
                    field="record",
                )
            yield raw

    def _hurried(self, write: Write) -> Write:
        """Gives up on a reader that takes nothing for too long."""

        async def write_soon(response: bytes) -> None:
            async with _moving(self._limits.idle_seconds):
                await write(response)

        return write_soon

    @contextmanager
    def _open_stream(self, call: Call, caller: Caller) -> Iterator[None]:
        method = call.method
        counted = self._metrics.open_stream(method.name)
        recheck = functools.partial(self._authenticate, call)
        left = None if caller.expires_at is None else (caller.expires_at - self._clock.now()) / 1e6
        with self.streams.open(caller, recheck, transfer=method.transfer, expires_in=left), counted:
            yield

    def _finished(
        self, call: Call, code: str, error: DomainError | None = None, *, cause: BaseException | None = None
    ) -> None:
        """Counts the call, and writes its one line of log. Neither holds anything of its content."""
        call.finished = True
        seconds = time.perf_counter() - call.started
        method = call.method
        self._metrics.handled(method.name, code)
        if method.unary:
            self._metrics.took(method.name, seconds)
        level = _level(method, code, error)
        if _levels.isEnabledFor(level):
            logger.log(
                level,
                "call",
                method=method.name,
                code=code,
                duration_ms=round(seconds * 1000, 3),
                request_id=printable(call.request_id),
                tenant=call.caller.tenant if call.caller else "",
                exc_info=cause,
            )


@asynccontextmanager
async def _moving(seconds: float) -> AsyncIterator[None]:
    """Raises LimitExceeded when a transfer has stood still for this long."""
    try:
        async with asyncio.timeout(seconds) as waiting:
            yield
    except TimeoutError:
        if not waiting.expired():
            raise
        raise LimitExceeded(
            f"The transfer stood still for {seconds:g} seconds, and was given up; start it again.",
            field="record",
        ) from None


def _caller_is_gone(error: BaseException, lost: tuple[type[BaseException], ...]) -> bool:
    """Whether the call itself was cancelled, or its connection is lost; not something that the call waited for."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, lost)


def _level(method: Method, code: str, error: DomainError | None) -> int:
    """Faults of the server stand out; what callers do does not, nor the end that every stream has some day."""
    if isinstance(error, Internal):
        return logging.ERROR
    if code in FAULTS and not isinstance(error, (ShuttingDown, StreamAged)):
        return logging.WARNING
    return logging.DEBUG if code == OK and method.unary else logging.INFO
