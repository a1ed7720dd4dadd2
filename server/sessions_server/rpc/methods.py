"""The served methods, derived from the protos; none is listed by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from sessions_server.domain.errors import LimitExceeded
from sessions_server.domain.ports import Access
from sessions_server.rpc.errors import malformed
from sessions_server.rpc.streams import StreamKind

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

REQUEST_BYTES: Final = 4 * 1024 * 1024

STREAMS: Final = {
    "Subscribe": StreamKind.SUBSCRIPTION,
    "StreamCommits": StreamKind.COMMITS,
    "ExportSession": StreamKind.TRANSFER,
    "ImportSession": StreamKind.TRANSFER,
}

Parse = Callable[[bytes], Message]


class Servicer(Protocol):
    """The methods of one service, named as its RPCs: `(request, caller)`, where a streaming request is an iterator.
    Each returns its response, or the bytes of it. A method with a response stream also takes `write` and returns
    nothing."""

    @property
    def SERVICE(self) -> ServiceDescriptor: ...


class Method(NamedTuple):
    descriptor: MethodDescriptor
    name: str
    path: str
    needed: Access
    parse: Parse
    run: Callable[..., Awaitable[Any]]
    unary: bool
    kind: StreamKind
    """What a method with a stream is for."""

    @property
    def transfer(self) -> bool:
        """Whether the method moves a whole session, and cannot be resumed."""
        return self.kind is StreamKind.TRANSFER


def methods_of(servicer: Servicer) -> Iterator[Method]:
    for descriptor in servicer.SERVICE.methods:
        yield Method(
            descriptor,
            descriptor.name,
            f"/{servicer.SERVICE.full_name}/{descriptor.name}",
            needed_access(descriptor),
            _parser(GetMessageClass(descriptor.input_type)),
            getattr(servicer, descriptor.name),
            unary=not (descriptor.client_streaming or descriptor.server_streaming),
            kind=STREAMS.get(descriptor.name, StreamKind.OTHER),
        )


def needed_access(method: MethodDescriptor) -> Access:
    """Read access is enough if the proto declares that the method has no side effects."""
    reads = method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    return Access.READ if reads else Access.WRITE


def too_large() -> LimitExceeded:
    return LimitExceeded(
        f"A request has at most {REQUEST_BYTES // 2**20} MiB; split it into several.", field="request"
    )


def _parser(message: type[Message]) -> Parse:
    read = message.FromString

    def parse(raw: bytes) -> Message:
        if len(raw) > REQUEST_BYTES:
            raise too_large()
        try:
            return read(raw)
        except DecodeError:
            raise malformed() from None

    return parse
