"""What most requests share: the session they name, and the stamp that identifies a repetition."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from sessions_server.domain.commit import RequestStamp
from sessions_server.domain.models import SessionKey
from sessions_server.rpc.convert.check import REQUEST_ID_CHARACTERS, Check

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Caller


OFF_LOOP_BYTES: Final = 64 * 1024
"""Messages of this size or more are converted in a thread: one of 3.3 MB takes half a second, which would block the
event loop."""

_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="convert")
"""Few, since each holds the interpreter's lock for 5 ms at a time, and the event loop may wait for all of them."""

T = TypeVar("T")
Request = TypeVar("Request", bound="Message")
Request_contra = TypeVar("Request_contra", contravariant=True)
Read_co = TypeVar("Read_co", covariant=True)
Read = TypeVar("Read")


class Convert(Protocol[Request_contra, Read_co]):
    """Checks a request and converts it to a command or query. Raises InvalidRequest, LimitExceeded."""

    def __call__(self, request: Request_contra, /, *, tenant: str, limits: Limits) -> Read_co: ...


class OfSession(Protocol):
    session_id: str


class Repeatable(Protocol):
    request_id: str

    def SerializeToString(self, *, deterministic: bool = False) -> bytes: ...


async def read(convert: Convert[Request, Read], request: Request, caller: Caller, limits: Limits) -> Read:
    """Converts a request, in a thread if it is large."""
    if request.ByteSize() < OFF_LOOP_BYTES:
        return convert(request, tenant=caller.tenant, limits=limits)
    return await beside_loop(convert, request, tenant=caller.tenant, limits=limits)


async def beside_loop(convert: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Runs a conversion in a thread."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, partial(convert, *arguments, **options))


def read_key(check: Check, tenant: str, request: OfSession) -> SessionKey:
    return SessionKey(tenant, check.id("session_id", request.session_id))


def read_stamp(check: Check, request: Repeatable) -> RequestStamp | None:
    """What distinguishes a repetition of this request from another use of its request id; None without a request id."""
    request_id = request.request_id
    if not request_id:
        return None
    check.stored_text("request_id", request_id, REQUEST_ID_CHARACTERS)
    method = type(request).__name__.removesuffix("Request")
    return RequestStamp(request_id, method, _digest(request))


def read_named(request: OfSession, *, tenant: str, limits: Limits) -> SessionKey:
    """The session of a request that has no other field."""
    check = Check(limits)
    key = read_key(check, tenant, request)
    check.done()
    return key


def _digest(request: Repeatable) -> bytes:
    """Equal for equal fields, regardless of the order of map entries."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
