"""Calls a server as a client does, to find out what a proxy in between does to the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import SetupError
from sessions_server.rpc.errors import DETAILS_KEY, DOMAIN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS: Final = 10.0
"""The time limit of each call."""

ATTEMPTS: Final = 10
"""How often a call is tried, as clients do: a proxy may lose the error now and then, as Caddy does when the response
is only an error."""

LARGE_BYTES: Final = 2 * 1024 * 1024
"""Above nginx's default limit, and below the server's."""

HTTPS: Final = "https://"
_GET: Final = "/sessions.v1.SessionService/GetSession"


async def probe(target: str) -> list[str]:
    """Calls the server at `HOST:PORT`, or over TLS at `https://HOST:PORT`. Returns a sentence for each thing that
    works.

    Raises SetupError for the first that does not.
    """
    async with _channel(target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        return [await ask(health, channel, target) for ask in (_is_serving, _streams_flow, _errors_arrive)]


@asynccontextmanager
async def _channel(target: str) -> AsyncIterator[grpc.aio.Channel]:
    options = (("grpc.enable_http_proxy", 0),)  # the proxy settings of the environment are not for this call
    if target.startswith(HTTPS):
        address = target.removeprefix(HTTPS).rstrip("/")
        channel = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(), options)
    else:
        channel = grpc.aio.insecure_channel(target.removeprefix("http://").rstrip("/"), options)
    async with channel:
        yield channel


async def _is_serving(health: Any, _: object, target: str) -> str:
    try:
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    except grpc.aio.AioRpcError as error:
        raise SetupError(
            f"{target} does not answer as a gRPC server ({_reason(error)}); check the address, whether it needs "
            "https://, and that the proxy speaks HTTP/2 to the server."
        ) from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise SetupError(f"The server at {target} says that it cannot serve; its log says why.")
    return f"{target} responds and is serving."


async def _streams_flow(health: Any, _: object, target: str) -> str:
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=2 * SECONDS)
    try:
        async with asyncio.timeout(SECONDS):
            await watch.read()
    except (TimeoutError, grpc.aio.AioRpcError) as error:
        raise SetupError(
            f"The first message of a stream from {target} does not arrive while the stream is open; turn off the "
            "buffering of responses in the proxy."
        ) from error
    finally:
        watch.cancel()
    return "Messages of a stream arrive at once."


async def _errors_arrive(_: object, channel: grpc.aio.Channel, target: str) -> str:
    reason = ""
    for _attempt in range(ATTEMPTS):
        error = await _refusal_of_a_large_request(channel, target)
        if _is_ours(error):
            return "A request of 2 MiB reaches the server, and the details of an error come back."
        reason = _reason(error)
    raise SetupError(
        f"A request of 2 MiB to {target} got an error that is not the server's ({reason}); allow requests of 4 MiB and "
        "response headers of 8 KiB in the proxy."
    )


async def _refusal_of_a_large_request(channel: grpc.aio.Channel, target: str) -> grpc.aio.AioRpcError:
    call: Callable[..., Awaitable[Any]] = channel.unary_unary(
        _GET, pb.GetSessionRequest.SerializeToString, pb.GetSessionResponse.FromString
    )
    try:
        await call(pb.GetSessionRequest(session_id="x" * LARGE_BYTES), timeout=SECONDS)
    except grpc.aio.AioRpcError as error:
        return error
    raise SetupError(f"The server at {target} takes a session id of 2 MiB, so it is another service.")


def _is_ours(error: grpc.aio.AioRpcError) -> bool:
    """Whether the error has the details that the service adds to every error."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            info = error_details_pb2.ErrorInfo()
            details = status_pb2.Status.FromString(value).details
            return any(each.Unpack(info) and info.domain == DOMAIN for each in details)
    return False


def _reason(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details() or 'no reason given'}"
