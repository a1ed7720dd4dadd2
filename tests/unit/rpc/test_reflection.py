"""The reflection requests of generic clients before their first call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2 as pb, reflection_pb2_grpc

from sessions_server.rpc.quotas import Bounds
from sessions_server.rpc.reflection import ALPHA, STABLE
from tests.unit.rpc.serving import CALL_LIMITS, STREAM_BOUNDS, WRITER, authorization, info_of
from tests.unit.rpc.test_server import running


@asynccontextmanager
async def reflected(service: str, *who: str) -> AsyncIterator[Any]:
    """A stream of requests to one version."""
    async with running() as server, grpc.aio.insecure_channel(server.address) as channel:
        method = channel.stream_stream(
            f"/{service}/ServerReflectionInfo",
            pb.ServerReflectionRequest.SerializeToString,
            pb.ServerReflectionResponse.FromString,
        )
        yield method(metadata=authorization(*who))


async def refusal_of(call: Any) -> grpc.aio.AioRpcError:
    """How a stream is refused. Nothing is written: grpc.aio loses a status that arrives while a request is written,
    https://github.com/grpc/grpc/issues/36066."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    return caught.value


async def ask(call: Any, **question: Any) -> Any:
    await call.write(pb.ServerReflectionRequest(**question))
    return await call.read()


@pytest.mark.parametrize("service", [ALPHA, STABLE])
@pytest.mark.parametrize(
    "symbol",
    [
        "sessions.v1.SessionService",
        "sessions.v1.SessionService.GetSession",
        "sessions.v1.Session",
        "sessions.v1.Session.state",
        "grpc.health.v1.Health.Check",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection.ServerReflectionInfo",
    ],
)
async def test_every_kind_of_symbol_is_found_in_both_versions(service: str, symbol: str) -> None:
    async with reflected(service, WRITER) as call:
        answer = await ask(call, file_containing_symbol=symbol)
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(raw)
        for raw in answer.file_descriptor_response.file_descriptor_proto
    ]
    assert any(symbol.startswith(file.package) for file in files), answer.error_response


@pytest.mark.parametrize("service", [ALPHA, STABLE])
async def test_missing_symbols_are_not_found_and_the_stream_continues(service: str) -> None:
    async with reflected(service, WRITER) as call:
        for symbol in ("sessions.v1.Nothing", "sessions.v1.SessionService.Nothing", ""):
            answer = await ask(call, file_containing_symbol=symbol)
            assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        listed = await ask(call, list_services="")
    names = {one.name for one in listed.list_services_response.service}
    assert {ALPHA, STABLE, "sessions.v1.SessionService"} <= names


@pytest.mark.parametrize("service", [ALPHA, STABLE])
async def test_it_requires_a_token_if_calls_do(service: str) -> None:
    async with reflected(service, "stranger") as call:
        refusal = await refusal_of(call)
    assert refusal.code() is grpc.StatusCode.UNAUTHENTICATED
    assert info_of(refusal).reason == "UNAUTHENTICATED"


async def test_its_streams_are_counted_and_end_with_the_server() -> None:
    limits = CALL_LIMITS._replace(streams=STREAM_BOUNDS._replace(subscriptions=Bounds(1, 1)))
    async with running(limits=limits) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", channel))
        first = stub.ServerReflectionInfo(metadata=authorization(WRITER))
        await ask(first, list_services="")
        second = stub.ServerReflectionInfo(metadata=authorization(WRITER))
        assert info_of(await refusal_of(second)).reason == "TOO_MANY_STREAMS"
        async with asyncio.timeout(60):
            await server.stop(3600)
        assert info_of(await refusal_of(first)).reason == "SHUTTING_DOWN"
