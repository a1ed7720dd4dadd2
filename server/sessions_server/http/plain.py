"""Streaming methods for `curl`: JSON lines in and out, without Connect's envelopes.

Each line is a message. If a stream of responses fails, its last line is `{"error": …}`, which no message looks like.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from google.protobuf.message_factory import GetMessageClass
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from sessions_server.domain.errors import LimitExceeded
from sessions_server.http import protojson
from sessions_server.http.connect import HTTP, CallerGone, responses
from sessions_server.http.errors import error_json, error_response, refusing
from sessions_server.http.heads import JSON_LINES
from sessions_server.http.protojson import Json
from sessions_server.rpc.calls import REQUEST_BYTES, Call, Calls, Method, Refused

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from starlette.requests import Request


async def call_plainly(calls: Calls, method: Method, request: Request) -> Response:
    call = calls.begin(method, list(request.headers.items()), HTTP)
    request_type = GetMessageClass(method.descriptor.input_type)
    response_type = GetMessageClass(method.descriptor.output_type)
    try:
        calls.admit(call)
        lines = _read_lines(request, request_type)
        if not method.descriptor.server_streaming:
            response = await calls.run(call, lines)
            return Response(await protojson.to_json(response, response_type), media_type="application/json")
        incoming = lines if method.descriptor.client_streaming else await _only(calls, call, lines)
        received = responses(calls, call, incoming)
        first = await anext(received, None)
    except Refused as refused:
        return error_response(refused)
    return StreamingResponse(_written(first, received, response_type), media_type=JSON_LINES)


async def _only(calls: Calls, call: Call, lines: AsyncIterator[bytes]) -> bytes:
    """The single message of a method without a request stream; without a body, an empty message."""
    with refusing(calls, call):
        return await anext(lines, b"")


async def _read_lines(request: Request, kind: type[Message]) -> AsyncIterator[bytes]:
    """Yields the messages of a body as protobuf, one per line."""
    rest = b""
    try:
        async for chunk in request.stream():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    yield await protojson.read(Json(line), kind)
            if len(rest) > REQUEST_BYTES:
                raise LimitExceeded(
                    f"A line has at most {REQUEST_BYTES // 2**20} MiB; split the request into several.",
                    field="request",
                )
    except ClientDisconnect:
        raise CallerGone from None
    if rest.strip():
        yield await protojson.read(Json(rest), kind)


async def _written(
    first: bytes | None, received: AsyncGenerator[bytes], kind: type[Message]
) -> AsyncIterator[bytes]:
    async with aclosing(received):
        try:
            if first is not None:
                yield await protojson.to_json(first, kind) + b"\n"
            async for answer in received:
                yield await protojson.to_json(answer, kind) + b"\n"
        except Refused as refused:
            yield protojson.dumped({"error": error_json(refused)}) + b"\n"
