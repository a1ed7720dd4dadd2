"""The server as a whole: its port, health, recovery and shutdown."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sessions_client import AsyncClient, SessionsError
from sessions_client._errors import error_from
from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc
from sessions_server.domain.errors import SetupError
from sessions_server.rpc import health
from sessions_server.rpc.calls import CallLimits
from sessions_server.rpc.prometheus import PrometheusMetrics
from sessions_server.rpc.server import RpcServer
from sessions_server.rpc.tls import Tls
from tests.support.http2 import Http2, framed
from tests.support.loop_end import end_rpc_loop
from tests.unit.rpc.serving import (
    CALL_LIMITS,
    SERVICES,
    WRITER,
    Doorkeeper,
    authorization,
    make_calls,
    reason_of,
)

if TYPE_CHECKING:
    from sessions_server.domain.ports import Caller
    from sessions_server.rpc.calls import Write

CHECKPOINT = pb.SubscribeResponse(checkpoint=pb.Checkpoint(sequence=1)).SerializeToString()
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def subscribe(_: pb.SubscribeRequest, __: Caller, write: Write) -> None:
    await write(CHECKPOINT)
    await asyncio.Event().wait()


async def flood(_: pb.SubscribeRequest, __: Caller, write: Write) -> None:
    while True:
        await write(CHECKPOINT * 1000)


async def get_session(request: pb.GetSessionRequest, _: Caller) -> pb.GetSessionResponse:
    return pb.GetSessionResponse(
        session=pb.Session(id=request.session_id, state=pb.SESSION_STATE_ACTIVE, etag="1")
    )


def make_server(bind: str = "127.0.0.1:0", *, tls: Tls | None = None, **methods: Any) -> RpcServer:
    metrics = PrometheusMetrics()
    return RpcServer(
        bind,
        calls=make_calls(Doorkeeper(), metrics, **{"Subscribe": subscribe, **methods}),
        metrics=metrics,
        tls=tls,
    )


@asynccontextmanager
async def running(
    *,
    grace_seconds: float = 30.0,
    tls: Tls | None = None,
    limits: CallLimits = CALL_LIMITS,
    **methods: Any,
) -> AsyncIterator[RpcServer]:
    server = make_server(tls=tls, limits=limits, **methods)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace_seconds)


class Client:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.sessions: Any = sessions_pb2_grpc.SessionServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)
        self.reflection: Any = reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", channel))

    def subscribe(self) -> Any:
        return self.sessions.Subscribe(pb.SubscribeRequest(), metadata=authorization(WRITER))

    async def get(self) -> Any:
        return await self.sessions.GetSession(
            pb.GetSessionRequest(), metadata=authorization(WRITER), wait_for_ready=True
        )

    async def failure(self) -> SessionsError | None:
        """How the Python client interprets the failure of one attempt; None if it does not fail."""
        try:
            await self.get()
        except grpc.aio.AioRpcError as failure:
            return error_from(failure)
        return None

    async def healthy(self, service: str = "") -> int:
        return int((await self.health.Check(health_pb2.HealthCheckRequest(service=service))).status)


# Reconnects faster than every second.
RECONNECT = (("grpc.initial_reconnect_backoff_ms", 100),)


@asynccontextmanager
async def client_of(server: RpcServer) -> AsyncIterator[Client]:
    async with grpc.aio.insecure_channel(server.address, options=RECONNECT) as channel:
        yield Client(channel)


async def test_port_0_becomes_a_free_port() -> None:
    async with running() as server, client_of(server) as client:
        host, _, port = server.address.rpartition(":")
        assert (host, int(port) > 0) == ("127.0.0.1", True)
        await client.get()


async def test_a_port_in_use_is_refused_with_a_sentence() -> None:
    async with running() as first:
        with pytest.raises(SetupError, match="give a free address and port"):
            await make_server(first.address).start()


async def test_health_covers_the_server_and_the_service() -> None:
    async with running() as server, client_of(server) as client:
        names = ("", *(service.full_name for service in SERVICES))
        assert {await client.healthy(name) for name in names} == {SERVING}
        server.set_serving(False)
        assert {await client.healthy(name) for name in names} == {NOT_SERVING}
        server.set_serving(True)
        assert await client.healthy() == SERVING


async def test_health_lists_the_services() -> None:
    async with running() as server, client_of(server) as client:
        listed = await client.health.List(health_pb2.HealthListRequest())  # type: ignore[attr-defined]  # missing in its stubs
        assert set(listed.statuses) == {"", *(service.full_name for service in SERVICES)}


async def test_health_rejects_unknown_services() -> None:
    async with running() as server, client_of(server) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.healthy("no.such.Service")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = client.health.Watch(health_pb2.HealthCheckRequest(service="no.such.Service"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


async def test_a_health_watcher_sees_every_change_and_then_the_end() -> None:
    async with running() as server, client_of(server) as client:
        watch = client.health.Watch(health_pb2.HealthCheckRequest())
        seen = [(await watch.read()).status]
        for serving in (False, True):
            server.set_serving(serving)
            seen.append((await watch.read()).status)
        await server.stop(30)
        seen.append((await watch.read()).status)
        assert seen == [SERVING, NOT_SERVING, SERVING, NOT_SERVING]
        assert await watch.read() is grpc.aio.EOF


async def test_the_number_of_health_watches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "WATCHES", 1)
    async with running() as server, client_of(server) as client:
        first = client.health.Watch(health_pb2.HealthCheckRequest())
        assert (await first.read()).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.health.Watch(health_pb2.HealthCheckRequest()).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await client.healthy() == SERVING


async def test_reflection_names_every_service() -> None:
    async with running() as server, client_of(server) as client:
        call = client.reflection.ServerReflectionInfo(metadata=authorization(WRITER))
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = {service.name for service in (await call.read()).list_services_response.service}
        await call.done_writing()
    assert listed == {
        *(service.full_name for service in SERVICES),
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "grpc.reflection.v1.ServerReflection",
    }


async def test_shutdown_ends_every_stream_without_waiting_for_the_grace() -> None:
    loop = asyncio.get_running_loop()
    async with running(grace_seconds=3600) as server, client_of(server) as client:
        calls = [client.subscribe() for _ in range(3)]
        for call in calls:
            await call.read()
        began = loop.time()
        await server.stop(3600)
        assert loop.time() - began < 3600
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert reason_of(caught.value) == "SHUTTING_DOWN"


async def test_a_call_in_flight_is_finished_within_the_grace() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def wait(*_: object) -> pb.GetSessionResponse:
        began.set()
        await go_on.wait()
        return pb.GetSessionResponse(session=pb.Session(id="done"))

    async with running(GetSession=wait) as server, client_of(server) as client:
        call = asyncio.create_task(client.get())
        await began.wait()
        stopping = asyncio.create_task(server.stop(3600))
        go_on.set()
        assert (await call).session.id == "done"
        await stopping


async def test_a_reader_that_reads_nothing_does_not_outlive_the_grace() -> None:
    async with running(grace_seconds=0.2, Subscribe=flood) as server:
        with Http2(server.address) as raw:
            stream = raw.open(
                b"/sessions.v1.SessionService/Subscribe", headers=[(b"authorization", b"writer")]
            )
            raw.send(stream, framed(b""))
            async with asyncio.timeout(30):
                await server.stop(0.2)


async def test_a_failed_grpc_loop_interrupts_the_service_for_at_most_a_retry() -> None:
    async with running() as server, client_of(server) as client:
        address = server.address
        watch = client.subscribe()
        await watch.read()
        for _ in range(3):
            end_rpc_loop(asyncio.get_running_loop())
            failures = [await client.failure()]
            assert failures != [None]
            while failures[-1] is not None:
                assert failures[-1].code == "UNAVAILABLE"
                failures.append(await client.failure())
        assert server.address == address
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        again = client.subscribe()
        await again.read()
        assert await client.healthy() == SERVING


async def test_callers_do_not_notice_a_failed_grpc_loop() -> None:
    loop = asyncio.get_running_loop()
    ends, calls = 2, 40

    async def call(client: AsyncClient) -> list[str]:
        return [(await client.sessions.get("s")).id for _ in range(calls)]

    async with (
        running(GetSession=get_session) as server,
        AsyncClient(server.address, metadata={"authorization": WRITER}) as client,
    ):
        callers = [asyncio.create_task(call(client)) for _ in range(10)]
        for _ in range(ends):
            end_rpc_loop(loop)
            while loop.get_task_factory() is not None:  # noqa: ASYNC110  # until a call has reached it
                await asyncio.sleep(0)
        assert await asyncio.gather(*callers) == [["s"] * calls] * len(callers)


async def test_a_second_server_does_not_silently_share_the_port() -> None:
    async with running() as server:
        port = int(server.address.rpartition(":")[2])
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
