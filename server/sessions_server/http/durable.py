"""A session's log over the read half of the Durable Streams protocol
(https://github.com/durable-streams/durable-streams).

An offset is the place of the last event read, zero-padded so that offsets sort as strings. Every read is a subscription
that ends early: catch-up ends at the head, a long poll at the first events, SSE after a minute.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.responses import Response, StreamingResponse

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import InvalidRequest, Reason, Violation
from sessions_server.http import protojson
from sessions_server.http.connect import HTTP
from sessions_server.http.errors import error_response, refusing
from sessions_server.http.events import (
    EVENT_STREAM,
    HEADERS,
    SUBSCRIBE,
    Place,
    Step,
    header_list,
    place_of,
    subscribe,
)
from sessions_server.rpc.calls import Calls, Refused

if TYPE_CHECKING:
    from starlette.requests import Request

GET_SESSION: Final = "/sessions.v1.SessionService/GetSession"
START: Final = "-1"
NOW: Final = "now"
MODES: Final = ("", "long-poll", "sse")
CHUNK_BYTES: Final = 1024 * 1024
POLL_SECONDS: Final = 25.0
SSE_SECONDS: Final = 60.0
"""The protocol recommends closing SSE streams about every minute."""
CURSOR_SECONDS: Final = 20
OFFSET_DIGITS: Final = 20
GONE: Final = (Reason.EVENTS_COMPACTED, Reason.LOG_REPLACED)
"""Errors after which a reader has to start from the beginning."""


class Read(NamedTuple):
    """The parameters of a read."""

    session_id: str
    place: Place
    head: int
    """The last sequence shortly before the read; 0 if the session is deleted, when only the end of its log can be
    read."""
    mode: str
    seconds: float
    cursor: str


class Chunk(NamedTuple):
    events: list[bytes]
    place: Place
    """The place of the last event."""
    up_to_date: bool
    closed: bool

    @property
    def body(self) -> bytes:
        return b"[" + b",".join(self.events) + b"]"


async def head(calls: Calls, request: Request) -> Response:
    """Serves HEAD: where the log ends."""
    call = calls.begin(calls.methods[SUBSCRIBE], header_list(request), HTTP)
    message = pb.SubscribeRequest(session_id=request.path_params["session_id"])
    try:
        async with aclosing(subscribe(calls, call, message)) as steps:
            first = await anext(steps)  # a checkpoint at the end of the log
    except Refused as refused:
        return error_response(refused)
    headers = {"stream-next-offset": _offset(first.place), "cache-control": "no-store"}
    return Response(headers=headers, media_type="application/json")


async def read(calls: Calls, request: Request) -> Response:
    """Returns the events after an offset: those there are, the first within a long poll, or a stream."""
    call = calls.begin(calls.methods[SUBSCRIBE], header_list(request), HTTP)
    try:
        with refusing(calls, call):
            wanted = await _wanted(calls, request)
        after, log_id = wanted.place
        message = pb.SubscribeRequest(session_id=wanted.session_id, after_sequence=after, log_id=log_id)
        steps = subscribe(calls, call, message)
        # The first step is a checkpoint, or raises the refusal of the subscription.
        wanted = wanted._replace(place=(await anext(steps)).place)
    except Refused as refused:
        gone = any(reason in refused.refusal.status.decode(errors="replace") for reason in GONE)
        return error_response(refused, status=410 if gone else None)
    if wanted.mode == "sse":
        return StreamingResponse(_live(wanted, steps), media_type=EVENT_STREAM, headers=HEADERS)
    async with aclosing(steps):
        return _answer(request, wanted, await _next_chunk(wanted, steps))


async def _wanted(calls: Calls, request: Request) -> Read:
    query = request.query_params
    mode, cursor = query.get("live", ""), query.get("cursor", "")
    if mode not in MODES:
        raise InvalidRequest([Violation("live", "Must be long-poll or sse.")])
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) < OFFSET_DIGITS):
        raise InvalidRequest([Violation("cursor", "Must be the cursor of the last response.")])
    seconds = _seconds(query.get("timeout"))
    offset = query.get("offset", START)
    try:
        last = await _last_sequence(calls, request)
    except Refused as refused:
        if offset == NOW or refused.refusal.code.name != "NOT_FOUND":
            raise
        last = 0
    fixed = {NOW: Place(last), START: Place(0)}
    place = fixed[offset] if offset in fixed else place_of("offset", offset)
    return Read(request.path_params["session_id"], place, last, mode, seconds, cursor)


def _seconds(text: str | None) -> float:
    if text is None:
        return POLL_SECONDS
    if not (text.isascii() and text.isdigit() and int(text) <= SSE_SECONDS):
        raise InvalidRequest(
            [Violation("timeout", f"Must be a whole number of seconds from 0 to {SSE_SECONDS:g}.")]
        )
    return float(text)


async def _last_sequence(calls: Calls, request: Request) -> int:
    message = pb.GetSessionRequest(session_id=request.path_params["session_id"])
    call = calls.begin(calls.methods[GET_SESSION], header_list(request), HTTP)
    answer = await calls.run(call, message.SerializeToString())
    return pb.GetSessionResponse.FromString(answer).session.last_sequence


async def _next_chunk(wanted: Read, steps: AsyncGenerator[Step]) -> Chunk:
    """All events up to the head that fit into one response; at the head, the first that arrive within the time
    limit."""
    if wanted.place.after < wanted.head or not wanted.head:
        return await _gathered(wanted, steps)
    if not wanted.mode:
        return Chunk([], wanted.place, up_to_date=True, closed=False)
    try:
        async with asyncio.timeout(wanted.seconds):
            async for step in steps:
                if step.is_event:
                    return Chunk([await _shown(step)], step.place, up_to_date=True, closed=step.is_end)
    except TimeoutError:
        pass
    return Chunk([], wanted.place, up_to_date=True, closed=False)


async def _gathered(wanted: Read, steps: AsyncGenerator[Step]) -> Chunk:
    events: list[bytes] = []
    place, size, closed = wanted.place, 0, False
    async for step in steps:
        if step.is_event:
            events.append(await _shown(step))
            size += len(events[-1])
            place, closed = step.place, step.is_end
        if place.after >= wanted.head > 0 or size >= CHUNK_BYTES:
            break
    return Chunk(events, place, up_to_date=closed or place.after >= wanted.head > 0, closed=closed)


async def _shown(step: Step) -> bytes:
    return await protojson.to_json(step.response.event.SerializeToString(), pb.Event)


def _answer(request: Request, wanted: Read, chunk: Chunk) -> Response:
    headers = {"stream-next-offset": _offset(chunk.place), "cache-control": "no-store"}
    if chunk.up_to_date:
        headers["stream-up-to-date"] = "true"
    if chunk.closed:
        headers["stream-closed"] = "true"
    if wanted.mode:
        headers["stream-cursor"] = _cursor(wanted.cursor)
    if wanted.mode and not chunk.events:
        return Response(status_code=204, headers=headers)
    # A hash of the content rather than the offsets: erasure changes the bytes at the same offsets.
    headers["etag"] = f'"{hashlib.sha256(chunk.body).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(chunk.body, media_type="application/json", headers=headers)


async def _live(wanted: Read, steps: AsyncGenerator[Step]) -> AsyncIterator[bytes]:
    up_to_date = wanted.place.after >= wanted.head > 0
    async with aclosing(steps):
        yield _control(wanted, wanted.place, up_to_date=up_to_date)
        try:
            async with asyncio.timeout(SSE_SECONDS):
                async for step in steps:
                    if step.is_event:
                        yield b"event: data\ndata: [%s]\n\n" % await _shown(step)
                    up_to_date |= step.position >= wanted.head > 0
                    closed = step.is_end
                    yield _control(wanted, step.place, up_to_date=up_to_date or closed, closed=closed)
        except (TimeoutError, Refused):
            return  # the client resumes from its last offset, and that response reports the error


def _control(wanted: Read, place: Place, *, up_to_date: bool, closed: bool = False) -> bytes:
    control: dict[str, Any] = {"streamNextOffset": _offset(place)}
    if closed:
        control["streamClosed"] = True
    else:
        control["streamCursor"] = _cursor(wanted.cursor)
    if up_to_date:
        control["upToDate"] = True
    return b"event: control\ndata: %s\n\n" % protojson.dumped(control)


def _offset(place: Place) -> str:
    return place.text(OFFSET_DIGITS)


def _cursor(last: str) -> str:
    """Differs from the previous cursor, so that a cache never serves one poll the response of another."""
    now = int(time.time()) // CURSOR_SECONDS
    return str(max(now, int(last or 0) + 1))
