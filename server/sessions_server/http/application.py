"""The ASGI application: checks the head of each request, then routes calls, events and files to their handlers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from sessions_server.domain.errors import MalformedRequest
from sessions_server.http import durable, heads
from sessions_server.http.connect import HTTP, ConnectApplication
from sessions_server.http.errors import error_response
from sessions_server.http.events import SUBSCRIBE, header_list, server_sent_events
from sessions_server.http.files import ConsoleFiles, openapi
from sessions_server.http.plain import call_plainly
from sessions_server.rpc.calls import Calls, Refused

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

CHUNK_SECONDS: Final = 20.0
"""The longest wait for the next chunk of a body."""
BODY_SECONDS: Final = 120.0
"""The time limit for the whole body of a call; imports have their own limit."""
CORS_SECONDS: Final = 7200
EXPOSED: Final = (
    "grpc-status", "grpc-message", "grpc-status-details-bin", "etag", "stream-next-offset", "stream-cursor",
    "stream-up-to-date", "stream-closed",
)  # fmt: skip
GUARDS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)
OTHER_VERBS: Final = ("CONNECT", "DELETE", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
"""Every verb of HTTP that does not read."""
NO_STORE: Final = (b"cache-control", b"no-store")


class Application:
    def __init__(self, calls: Calls, sites: heads.Sites) -> None:
        self._calls = calls
        self._sites = sites
        self._connect = ConnectApplication(calls)
        places = {
            "/v1/sessions/{session_id}/events": self._events,
            "/v1/caller": self._caller,
            "/openapi.json": openapi,
        }
        self._others = Router(
            [
                *(Route(path, endpoint, methods=["GET"]) for path, endpoint in places.items()),
                *(Route(path, self._wrong_verb, methods=OTHER_VERBS) for path in places),
            ],
            default=ConsoleFiles(otherwise=self._unknown),
        )
        self._shared = CORSMiddleware(
            self._dispatch,
            allow_origins=sites.origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
            max_age=CORS_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        send = _guarded(send)
        headers = heads.decoded(scope)
        rejection = headers if isinstance(headers, heads.Rejection) else self._sites.judge(headers)
        if rejection is not None:
            await self._reject(rejection, scope, receive, send)
        elif b"origin" in dict(scope["headers"]):
            await self._shared(scope, receive, send)
        else:
            await self._dispatch(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = self._calls.methods.get(scope["path"])
        if method is None:
            await self._others(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        rejection = heads.judge_call(method, scope, headers)
        if rejection is not None:
            await self._reject(rejection, scope, receive, send)
        elif not method.unary and heads.content_type(headers) in heads.PLAIN_STREAM_TYPES:
            response = await call_plainly(self._calls, method, Request(scope, receive))
            await response(scope, receive, send)
        elif method.descriptor.client_streaming:
            await self._connect(scope, receive, send)
        else:
            body = _Body(receive, send)
            await self._connect(scope, body.receive, body.send)

    async def _events(self, request: Request) -> Response:
        if request.method == "HEAD":
            return await durable.head(self._calls, request)
        if "offset" in request.query_params:
            return await durable.read(self._calls, request)
        return await server_sent_events(self._calls, request)

    async def _caller(self, request: Request) -> Response:
        """Tells the console which caller its token belongs to."""
        call = self._calls.begin(self._calls.methods[SUBSCRIBE], header_list(request), HTTP)
        try:
            caller = self._calls.admit(call)
        except Refused as refused:
            return error_response(refused)
        return JSONResponse(
            {
                "tenant": caller.tenant,
                "name": caller.subject,
                "access": caller.access,
                "authenticated": bool(caller.subject),
            }
        )

    async def _wrong_verb(self, request: Request) -> Response:
        refused = self._calls.rejected(request.url.path, MalformedRequest("Read this by GET."))
        return error_response(refused, status=405, headers={"allow": "GET, HEAD"})

    async def _unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = error_response(self._calls.unknown(scope["path"]), status=404)
        await response(scope, receive, send)

    async def _reject(self, rejection: heads.Rejection, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._calls.rejected(scope["path"], rejection.error)
        response = error_response(refused, status=rejection.status, headers=rejection.headers)
        await response(scope, receive, send)


class _Body:
    """A request body with time limits. When one is exceeded the request gets a 408 and the connection is closed."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._ends = asyncio.get_running_loop().time() + BODY_SECONDS
        self._arrived = False
        self._late = False

    async def receive(self) -> Message:
        if self._arrived:
            return await self._receive()
        left = self._ends - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(left, CHUNK_SECONDS)):
                message = await self._receive()
        except TimeoutError:
            self._late = True
            return {"type": "http.disconnect"}
        self._arrived = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if self._late and message["type"] == "http.response.start":
            message = {**message, "status": 408, "headers": [*message["headers"], (b"connection", b"close")]}
        await self._send(message)


def _guarded(send: Send) -> Send:
    async def send_guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), *GUARDS]
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append(NO_STORE)
            message["headers"] = headers
        await send(message)

    return send_guarded
