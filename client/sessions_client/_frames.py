"""The frames of unary calls over a Unix socket, to the server of a database file. Pure: no socket, no waiting.

`sessions_server.rpc.local` describes them, and has the same two headers. Client and server have the same version.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import grpc

from sessions_client._options import Metadata

REQUEST: Final = struct.Struct("!IIHI")
"""The bytes that follow, the number of the call, the bytes of its path, and of its metadata."""
RESPONSE: Final = struct.Struct("!IIBH")
"""The bytes that follow, the number of the call, the status code, and the bytes of an error's text."""

RECEIVED_BYTES: Final = 64 * 1024
"""How much is received at once. Twice as much would be mapped and unmapped by malloc each time."""

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_DETAILS_KEY: Final = "grpc-status-details-bin"


class LocalError(grpc.RpcError):
    """A failed call, with the methods of gRPC's errors."""

    def __init__(self, code: grpc.StatusCode, text: str, status: bytes = b"") -> None:
        super().__init__(text)
        self._code = code
        self._text = text
        self._status = status

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._text

    def trailing_metadata(self) -> Any:
        return ((_DETAILS_KEY, self._status),)


class Method(NamedTuple):
    """A unary method, as a generated stub describes it."""

    path: bytes
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], object]


Response: TypeAlias = "tuple[int, bytes | LocalError]"
"""The number of a call, and the response to it or its error."""


class Responses:
    """What one connection has received."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def read(self, data: bytes) -> list[Response]:
        """The responses that are complete with this data."""
        received: bytes | bytearray = data
        if self._unread:
            self._unread += data
            received = self._unread
        responses: list[Response] = []
        at, begin = 0, RESPONSE.size
        while begin <= len(received):
            size, number, code, text_size = RESPONSE.unpack_from(received, at)
            end = begin + size
            if end > len(received):
                break
            rest = bytes(received[begin + text_size : end])
            if code == 0:
                responses.append((number, rest))
            else:
                text = received[begin : begin + text_size].decode()
                responses.append((number, LocalError(_CODES[code], text, rest)))
            at, begin = end, end + RESPONSE.size
        if received is data:
            self._unread += data[at:]
        else:
            del self._unread[:at]
        return responses


def request_frame(number: int, path: bytes, metadata: Metadata, message: bytes) -> bytes:
    """A call, for `sendall`."""
    pairs = _pairs(metadata) if metadata else b""
    size = len(path) + len(pairs) + len(message)
    return b"".join((REQUEST.pack(size, number, len(path), len(pairs)), path, pairs, message))


def cancel_frame(number: int) -> bytes:
    """Tells the server that nobody waits for the call of this number."""
    return REQUEST.pack(0, number, 0, 0)


def unreachable(path: str, error: OSError) -> LocalError:
    """The error of a call for which no connection was made."""
    return LocalError(grpc.StatusCode.UNAVAILABLE, f"failed to connect to {path}: {error}")


def broken(error: OSError | None = None) -> LocalError:
    """The error of a call whose connection was closed, by either side."""
    return LocalError(grpc.StatusCode.CANCELLED, "Socket closed" if error is None else str(error))


def timed_out() -> LocalError:
    """The error of a call without a response in time."""
    return LocalError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


def _pairs(metadata: Metadata) -> bytes:
    """The metadata as JSON. If the name ends in `-bin`, each byte is one character."""
    return json.dumps(
        [(name, value if isinstance(value, str) else value.decode("latin-1")) for name, value in metadata]
    ).encode()
