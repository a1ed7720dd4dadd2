"""`client.pipeline()`: many writes over one stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from sessions_client import ops
from sessions_client._async._commits import AsyncCommitter
from sessions_client._async._message_writer import AsyncMessageWriter
from sessions_client._async._pipe import Pipe
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

if TYPE_CHECKING:
    from types import TracebackType

    from sessions_client._async._caller import AsyncCaller
    from sessions_proto.v1 import commits_pb2 as pb

Verb = Literal["start", "pause", "resume", "end", "archive"]


class AsyncPipeline(AsyncCommitter, AsyncMessageWriter):
    """Sends the writes of any number of tasks over one stream, at a fraction of the cost of single calls.

        async with client.pipeline() as p:
            message = await p.add_message(session_id, role="user", content="Hello")

    Each method returns and raises what the single call does. Writes to one session are applied in the order in which
    they were made, even if the previous one was not awaited. At most 1,024 writes or 8 MiB are in flight; further
    writes wait for room. If the stream breaks, it is opened again and every write without an outcome is sent again
    with the same request id: none is lost, none is applied twice. Leaving the block waits for all outcomes."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._pipe = Pipe(caller)

    async def create(
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
        return await self._session_after(request, timeout=timeout)

    async def add_messages(
        self,
        session_id: str,
        *,
        messages: Iterable[MessageInput],
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> list[Message]:
        """Appends messages, all or none, as `client.sessions.add_messages` does."""
        appends = [ops.append(message) for message in messages]
        result = await self.commit(session_id, *appends, request_id=request_id, timeout=timeout)
        return result.results

    async def set_context(
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
        return await self._write_context(session_id, operations, etag, request_id, timeout)

    async def update_context(
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
        return await self._write_context(session_id, operations, etag, request_id, timeout)

    async def move(
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
        return await self._session_after(request, timeout=timeout)

    async def delete(
        self,
        session_id: str,
        *,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> None:
        """Erases a session, as `client.sessions.delete` does."""
        conditions = () if etag is None else (ops.if_session_etag(etag),)
        await self.commit(
            session_id, ops.delete_session(), conditions=conditions, request_id=request_id, timeout=timeout
        )

    async def close(self) -> None:
        """Waits for all outcomes and ends the stream. The pipeline cannot be used again."""
        await self._pipe.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _commit(self, request: pb.CommitRequest, *, timeout: Span | None) -> pb.CommitResponse:
        return await self._pipe.submit(request, timeout=timeout)

    async def _add_message(
        self, session_id: str, message: MessageInput, *, request_id: str | None, timeout: Span | None
    ) -> Message:
        request = convert.commit_request(session_id, [ops.append(message)], request_id=request_id)
        response = await self._commit(request, timeout=timeout)
        return convert.read_appended(request.operations[0], response.results[0])

    async def _session_after(self, request: pb.CommitRequest, *, timeout: Span | None) -> Session:
        response = await self._commit(request, timeout=timeout)
        return read_session(response.session)

    async def _write_context(
        self,
        session_id: str,
        operations: list[ops.Operation],
        etag: str | None,
        request_id: str | None,
        timeout: Span | None,
    ) -> Context:
        conditions = () if etag is None else (ops.if_context_etag(etag),)
        result = await self.commit(
            session_id,
            *operations,
            conditions=conditions,
            reads=[ops.read_context(session_id)],
            request_id=request_id,
            timeout=timeout,
        )
        context: Context = result.reads[0]
        return context
