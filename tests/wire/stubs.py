"""Calls through the generated stubs, and refusals as programs see them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from sessions_proto.v1 import (
    commits_pb2 as commits_pb,
    commits_pb2_grpc,
    drafts_pb2 as drafts_pb,
    drafts_pb2_grpc,
    records_pb2 as records_pb,
    records_pb2_grpc,
    sessions_pb2 as pb,
    sessions_pb2_grpc,
)

if TYPE_CHECKING:
    from types import TracebackType

    from tests.support.server import Server

SERVICE = "/sessions.v1.SessionService/"
STUBS: tuple[tuple[Any, Any], ...] = (
    (pb, sessions_pb2_grpc.SessionServiceStub),
    (commits_pb, commits_pb2_grpc.CommitServiceStub),
    (drafts_pb, drafts_pb2_grpc.DraftServiceStub),
    (records_pb, records_pb2_grpc.RecordServiceStub),
)
"""The messages and the stub of each service."""
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
)


@dataclass(frozen=True)
class Refusal:
    code: str
    reason: str
    metadata: dict[str, str]
    fields: list[str]
    """The fields at fault."""
    message: str
    details: bytes


class Caller:
    """A caller of a server. A method is called by its name and the request's fields."""

    def __init__(self, server: Server, *tokens: str, options: Iterable[tuple[str, int]] = OPTIONS) -> None:
        self.channel = grpc.insecure_channel(server.address, options=tuple(options))
        self.metadata = tuple(("authorization", f"Bearer {token}") for token in tokens)
        self._stubs = [(messages, stub(self.channel)) for messages, stub in STUBS]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()

    def __getattr__(self, method: str) -> Callable[..., Any]:
        messages, stub = next((each for each in self._stubs if hasattr(each[1], method)), (None, None))
        if messages is None:
            raise AttributeError(method)

        def call(request: Any = None, **fields: Any) -> Any:
            asked = request if request is not None else getattr(messages, f"{method}Request")(**fields)
            return getattr(stub, method)(asked, metadata=self.metadata)

        return call

    def raw(
        self, method: str, body: bytes, metadata: Iterable[tuple[str, str | bytes]] | None = None
    ) -> bytes:
        """A unary call of bytes."""
        call: Any = self.channel.unary_unary(f"{SERVICE}{method}" if "/" not in method else method)
        return bytes(call(body, metadata=self.metadata if metadata is None else tuple(metadata)))

    def session(self, **fields: Any) -> pb.Session:
        """A new session."""
        made: pb.Session = self.CreateSession(**{"user_id": "u-1", **fields}).session
        return made

    def new_id(self, **fields: Any) -> str:
        return self.session(**fields).id

    def export(self, session_id: str) -> list[pb.ExportRecord]:
        return [response.record for response in self.ExportSession(session_id=session_id)]

    def import_(self, session_id: str, records: Iterable[pb.ExportRecord], **fields: Any) -> pb.Session:
        def requests() -> Iterator[pb.ImportSessionRequest]:
            yield pb.ImportSessionRequest(session_id=session_id, **fields)
            for record in records:
                yield pb.ImportSessionRequest(record=record)

        imported: pb.Session = self.ImportSession(requests()).session
        return imported

    def history(self, session_id: str, **fields: Any) -> list[pb.Message]:
        return list(self.GetHistory(session_id=session_id, **fields).messages)

    def context(self, session_id: str) -> pb.Context:
        context: pb.Context = self.GetContext(session_id=session_id).context
        return context

    def log(self, session_id: str, after: int = 0) -> list[pb.Event]:
        """The current events, read by a subscription up to the session's head."""
        head = self.GetSession(session_id=session_id).session.last_sequence
        stream = self.Subscribe(session_id=session_id, after_sequence=after)
        events: list[pb.Event] = []
        for response in stream:
            if response.HasField("event"):
                events.append(response.event)
            if max([after, *(event.sequence for event in events)]) >= head:
                break
        stream.cancel()
        return events


def refused(call: Callable[..., Any], *arguments: Any, **fields: Any) -> Refusal:
    """The refusal of a call; a stream is read to its end."""
    with pytest.raises(grpc.RpcError) as caught:
        _finish(call(*arguments, **fields))
    return refusal_of(caught.value)


def _finish(answer: Any) -> None:
    if hasattr(answer, "__next__"):
        list(answer)


def refusal_of(error: Any) -> Refusal:
    # As a list, since newer grpcio metadata is a mapping that dict() accepts only in later releases.
    details = dict([*(error.trailing_metadata() or ())]).get("grpc-status-details-bin", b"")
    status = status_pb2.Status.FromString(details)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    if details:
        assert (status.code, status.message) == (error.code().value[0], error.details())
        assert info.domain == "sessions.v1"
    fields = [violation.field for violation in bad.field_violations]
    return Refusal(
        error.code().name, str(info.reason), dict(info.metadata), fields, str(error.details()), details
    )


def message(content: str = "Hello", **fields: Any) -> pb.Message:
    return pb.Message(**{"role": "user", "content": content, **fields})


def set_change(path: str, text: str = "x") -> pb.ContextChange:
    change = pb.ContextChange(path=path)
    change.set.string_value = text
    return change
