"""Refusals over HTTP: Connect's JSON, and the HTTP status that Connect assigns to each code."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2
from protobuf.wkt import Any as PackedDetail, Struct
from starlette.responses import JSONResponse

from sessions_server.rpc.calls import Call, Calls, Refused

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any as Packed

HTTP_STATUS: Final = {
    Code.CANCELED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
"""From https://connectrpc.com/docs/protocol#error-codes."""


class _Detail(ErrorDetail):
    """An error detail that also has a readable form for JSON."""

    def __init__(self, packed: Packed) -> None:
        super().__init__(PackedDetail(type_url=packed.type_url, value=packed.value))
        self._shown = _shown(packed)

    def value(self, *_: Any) -> Any:
        return Struct.from_python(self._shown)


def connect_error(refused: Refused) -> ConnectError:
    """Converts a refusal to connectrpc's error type, which it writes in the caller's protocol."""
    status = _status(refused)
    return ConnectError(_code(refused), status.message, details=[_Detail(each) for each in status.details])


def error_json(refused: Refused) -> dict[str, Any]:
    """The refusal as Connect's JSON."""
    status = _status(refused)
    details = [
        {
            "type": packed.type_url.rpartition("/")[2],
            "value": base64.b64encode(packed.value).decode().rstrip("="),
            "debug": _shown(packed),
        }
        for packed in status.details
    ]
    return {"code": _code(refused).value, "message": status.message, "details": details}


def error_response(
    refused: Refused, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(error_json(refused), status or HTTP_STATUS[_code(refused)], headers)


@contextmanager
def refusing(calls: Calls, call: Call) -> Iterator[None]:
    """Turns an error raised before the method runs into the call's Refused."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        calls.refuse(call, error)


def _code(refused: Refused) -> Code:
    name = refused.refusal.code.name
    return Code.CANCELED if name == "CANCELLED" else Code[name]


def _status(refused: Refused) -> status_pb2.Status:
    return status_pb2.Status.FromString(refused.refusal.status)


def _shown(packed: Packed) -> dict[str, Any]:
    detail = getattr(error_details_pb2, packed.type_url.rpartition(".")[2])()
    packed.Unpack(detail)
    return MessageToDict(detail)
