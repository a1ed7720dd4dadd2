"""The events of a session at `/v1/sessions/ID/events`, for browsers and `curl`.

By default they are server-sent events whose `id` is the place in the log, so that an EventSource resumes by itself.
With the parameter `offset` the same log is served by the Durable Streams protocol, see `durable`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict
from starlette.responses import Response, StreamingResponse

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.http import protojson
from sessions_server.http.connect import HTTP, responses
from sessions_server.http.errors import error_json, error_response, refusing
from sessions_server.http.json_shape import WrongShape, check_shape
from sessions_server.rpc.calls import Call, Calls, Refused

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request

SUBSCRIBE: Final = "/sessions.v1.SessionService/Subscribe"
RETRY_MILLISECONDS: Final = 1000
EVENT_STREAM: Final = "text/event-stream"
HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""Neither caches nor nginx may buffer events."""


class Place(NamedTuple):
    """A reader's position in a log."""

    after: int
    log_id: str = ""

    def text(self, digits: int = 0) -> str:
        """`15@LOG`: a different event could be at 15 after a restore or a failover."""
        log = f"@{self.log_id}" if self.log_id else ""
        return f"{self.after:0{digits}d}{log}"


class Step(NamedTuple):
    """One response of a subscription."""

    response: pb.SubscribeResponse
    log_id: str
    """The log id of the last checkpoint."""

    @property
    def position(self) -> int:
        """The sequence up to which everything has been sent; 0 for a response that has no position."""
        response = self.response
        return response.event.sequence if response.HasField("event") else response.checkpoint.sequence

    @property
    def place(self) -> Place:
        return Place(self.position, self.log_id)

    @property
    def is_event(self) -> bool:
        return self.response.HasField("event")

    @property
    def is_end(self) -> bool:
        return self.response.event.type == pb.EVENT_TYPE_DELETED


async def server_sent_events(calls: Calls, request: Request) -> Response:
    call = calls.begin(calls.methods[SUBSCRIBE], header_list(request), HTTP)
    try:
        with refusing(calls, call):
            wanted = _subscription(request)
        steps = subscribe(calls, call, wanted)
        first = await anext(steps)
    except Refused as refused:
        return _refusal(request, refused)
    return StreamingResponse(_written(first, steps), media_type=EVENT_STREAM, headers=HEADERS)


async def subscribe(calls: Calls, call: Call, wanted: pb.SubscribeRequest) -> AsyncGenerator[Step]:
    """Yields the responses of a subscription, the first of which is a checkpoint. Raises Refused."""
    log_id = ""
    async with aclosing(responses(calls, call, wanted.SerializeToString())) as received:
        async for encoded in received:
            response = pb.SubscribeResponse.FromString(encoded)
            log_id = response.checkpoint.log_id or log_id
            yield Step(response, log_id)


def header_list(request: Request) -> list[tuple[str, str | bytes]]:
    return list(request.headers.items())


def place_of(name: str, text: str) -> Place:
    """Parses an event id sent back by a reader, or a sequence. Raises InvalidRequest."""
    after, _, log_id = text.partition("@")
    if not (after.isascii() and after.isdigit() and len(after) <= 20):
        raise InvalidRequest(
            [Violation(name, "Must be the last one received, the sequence of an event, or 0.")]
        )
    return Place(int(after), log_id)


async def _written(first: Step, steps: AsyncGenerator[Step]) -> AsyncIterator[bytes]:
    async with aclosing(steps):
        yield f"retry: {RETRY_MILLISECONDS}\n".encode() + await _block(first)
        try:
            async for step in steps:
                yield await _block(step)
        except Refused as refused:
            yield _failure(refused)


async def _block(step: Step) -> bytes:
    response, place = step.response, step.place.text().encode()
    kind = response.WhichOneof("response")
    if kind == "checkpoint":
        # A browser dispatches no event without data, but remembers the id.
        return b"id: %s\n\n" % place
    if kind == "event":
        name = pb.EventType.Name(response.event.type).removeprefix("EVENT_TYPE_").lower()
        data = await protojson.to_json(response.event.SerializeToString(), pb.Event)
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (place, name.encode(), data)
    shown = protojson.shown(getattr(response, str(kind)))
    return b"event: %s\ndata: %s\n\n" % (str(kind).encode(), shown)


def _failure(refused: Refused) -> bytes:
    """Why a stream ended. Not named `error`, since browsers use that name for a lost connection."""
    return b"event: failure\ndata: %s\n\n" % protojson.dumped(error_json(refused))


def _refusal(request: Request, refused: Refused) -> Response:
    """An EventSource gives up for good at any status but 200, so a temporary refusal is sent as a stream."""
    wants_stream = request.headers.get("accept") == EVENT_STREAM
    if wants_stream and refused.refusal.code.name == "UNAVAILABLE":
        body = f"retry: {RETRY_MILLISECONDS}\n".encode() + _failure(refused)
        return Response(body, media_type=EVENT_STREAM, headers=HEADERS)
    return error_response(refused)


def _subscription(request: Request) -> pb.SubscribeRequest:
    """The SubscribeRequest that the query describes by field names. Raises InvalidRequest."""
    wanted = _parsed(request.query_params)
    wanted.session_id = request.path_params["session_id"]
    resumed = request.headers.get("last-event-id", "")
    if resumed:
        wanted.after_sequence, wanted.log_id = place_of("last-event-id", resumed)
    return wanted


def _parsed(query: QueryParams) -> pb.SubscribeRequest:
    fields = pb.SubscribeRequest.DESCRIPTOR.fields_by_name
    values: dict[str, Any] = {}
    for name in query:
        if name not in fields or name == "session_id":
            known = ", ".join(sorted({*fields} - {"session_id"}))
            raise InvalidRequest([Violation(name, f"Leave it out; known parameters are {known}.")])
        values[name] = _value(fields[name], query.getlist(name))
    try:
        check_shape(values, pb.SubscribeRequest.DESCRIPTOR)
    except WrongShape as error:
        raise InvalidRequest([Violation(error.path, error.rule)]) from None
    return ParseDict(values, pb.SubscribeRequest())


def _value(field: FieldDescriptor, texts: list[str]) -> Any:
    """The JSON form of a field's value. Enum names may be lower-case and without their prefix."""
    if field.is_repeated:
        names = [name for text in texts for name in text.split(",")]
        return [_enum_name(field.enum_type, name) if field.enum_type else name for name in names]
    text = texts[-1]
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"true": True, "1": True, "false": False, "0": False}.get(text, text)
    return text


def _enum_name(enum: EnumDescriptor, name: str) -> str:
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return prefix + name.upper().removeprefix(prefix)
