# Derived from sessions_client/_async/_pipeline.py by client/unasync.py. Change that file, then run:
#     python client/unasync.py
"""`client.pipeline()`: many writes over one stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from sessions_client import ops
from sessions_client._changes import Change, changes_of
from sessions_client._convert import _commits as convert
from sessions_client._convert._sessions import read_session
from sessions_client._models import (
    NOT_GIVEN,
    ConfigInput,
    Context,
    IfExists,
    Message,
    MessageInput,
    NotGiven,
    Session,
    Span,
    StorageInput,
)
from sessions_client._sync._commits import Committer
from sessions_client._sync._message_writer import MessageWriter
from sessions_client._sync._pipe import Pipe

if TYPE_CHECKING:
    from types import TracebackType

    from sessions_client._sync._caller import Caller
    from sessions_proto.v1 import commits_pb2 as pb

Verb = Literal["start", "pause", "resume", "end", "archive"]


class Pipeline(Committer, MessageWriter):
    """Sends the writes of any number of tasks over one stream, at a fraction of the cost of single calls.

        with client.pipeline() as p:
            message = p.add_message(session_id, role="user", content="Hello")

    Each method returns and raises what the single call does. Writes to one session are applied in the order in which
    they were made, even if the previous one was not awaited. At most 1,024 writes or 8 MiB are in flight; further
    writes wait for room. If the stream breaks, it is opened again and every write without an outcome is sent again
    with the same request id: none is lost, none is applied twice. Leaving the block waits for all outcomes."""

    def __init__(self, caller: Caller) -> None:
        self._pipe = Pipe(caller)

    def create(
        self,
        user_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        config: ConfigInput | None = None,
        storage_options: StorageInput | None = None,
        session_id: str | None = None,
        if_exists: IfExists | Literal["fail", "return"] | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Session:
        """Creates a session, as `client.sessions.create` does."""
        new = ops.new_session(
            user_id,
            metadata=metadata,
            config=config,
            storage_options=storage_options,
            if_exists=if_exists,
        )
        request = convert.commit_request(session_id, [], create=new, request_id=request_id)
        return self._session_after(request, timeout=timeout)

    def add_messages(
        self,
        session_id: str,
        *,
        messages: Iterable[MessageInput],
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> list[Message]:
        """Appends messages, all or none, as `client.sessions.add_messages` does."""
        appends = [ops.append(message) for message in messages]
        result = self.commit(session_id, *appends, request_id=request_id, timeout=timeout)
        return result.results

    def set_context(
        self,
        session_id: str,
        *,
        context: Mapping[str, Any],
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Context:
        """Replaces the whole context, as `client.sessions.set_context` does."""
        operations = [ops.set_context(context)]
        return self._write_context(session_id, operations, etag, request_id, timeout)

    def update_context(
        self,
        session_id: str,
        *,
        path: str | None = None,
        value: Any = NOT_GIVEN,
        context: Mapping[str, Any] | None = None,
        changes: Iterable[Change] | NotGiven = NOT_GIVEN,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Context:
        """Changes parts of the context, all or none, as `client.sessions.update_context` does."""
        wanted = changes_of(path=path, value=value, context=context, changes=changes)
        operations = [ops.change_context(change) for change in wanted]
        return self._write_context(session_id, operations, etag, request_id, timeout)

    def move(
        self,
        session_id: str,
        verb: Verb,
        *,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Session:
        """Moves a session to another state, as the method of that name of `client.sessions` does."""
        conditions = () if etag is None else (ops.if_session_etag(etag),)
        request = convert.commit_request(
            session_id, [ops.move(verb)], conditions=conditions, request_id=request_id
        )
        return self._session_after(request, timeout=timeout)

    def delete(
        self,
        session_id: str,
        *,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> None:
        """Erases a session, as `client.sessions.delete` does."""
        conditions = () if etag is None else (ops.if_session_etag(etag),)
        self.commit(
            session_id, ops.delete_session(), conditions=conditions, request_id=request_id, timeout=timeout
        )

    def close(self) -> None:
        """Waits for all outcomes and ends the stream. The pipeline cannot be used again."""
        self._pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _commit(self, request: pb.CommitRequest, *, timeout: Span | None) -> pb.CommitResponse:
        return self._pipe.submit(request, timeout=timeout)

    def _add_message(
        self, session_id: str, message: MessageInput, *, request_id: str | None, timeout: Span | None
    ) -> Message:
        request = convert.commit_request(session_id, [ops.append(message)], request_id=request_id)
        response = self._commit(request, timeout=timeout)
        return convert.read_appended(request.operations[0], response.results[0])

    def _session_after(self, request: pb.CommitRequest, *, timeout: Span | None) -> Session:
        response = self._commit(request, timeout=timeout)
        return read_session(response.session)

    def _write_context(
        self,
        session_id: str,
        operations: list[ops.Operation],
        etag: str | None,
        request_id: str | None,
        timeout: Span | None,
    ) -> Context:
        conditions = () if etag is None else (ops.if_context_etag(etag),)
        result = self.commit(
            session_id,
            *operations,
            conditions=conditions,
            reads=[ops.read_context(session_id)],
            request_id=request_id,
            timeout=timeout,
        )
        context: Context = result.reads[0]
        return context
