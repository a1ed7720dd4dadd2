"""The RPCs of SessionService, one method each: validate, convert, call, convert back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.models import Message
from sessions_server.domain.operations import Verb
from sessions_server.rpc.convert.common import read, read_named
from sessions_server.rpc.convert.content import (
    read_add_message,
    read_add_messages,
    read_clear_history,
    read_get_context,
    read_get_history,
    read_set_context,
    read_subscribe,
    read_update_context,
)
from sessions_server.rpc.convert.drafts import encode_draft
from sessions_server.rpc.convert.events import (
    encode_checkpoint,
    encode_event,
    encode_event_with_changes,
    find_encoded,
)
from sessions_server.rpc.convert.exports import put_record
from sessions_server.rpc.convert.history import encode_history, messages_to_encode
from sessions_server.rpc.convert.imports import read_import
from sessions_server.rpc.convert.large import converted, data_of, json_of_record, metadata_of
from sessions_server.rpc.convert.lists import read_list, read_search
from sessions_server.rpc.convert.recent_contexts import RecentContextStructs
from sessions_server.rpc.convert.responses import (
    STRUCTS,
    put_context,
    put_context_part,
    put_message,
    put_messages,
    put_session,
    put_sessions,
)
from sessions_server.rpc.convert.sessions import (
    Move,
    read_create,
    read_delete,
    read_fork,
    read_get,
    read_move,
    read_update,
)

if TYPE_CHECKING:
    from sessions_server.domain.drafts import Piece
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.models import Event, Sequence, Session
    from sessions_server.domain.ports import Caller
    from sessions_server.rpc.calls import Write
    from sessions_server.service.drafts import Drafts
    from sessions_server.service.sessions import Sessions
    from sessions_server.service.subscriptions import Subscriptions
    from sessions_server.service.transfer import Transfers


class SessionServicer:
    SERVICE: Final = pb.DESCRIPTOR.services_by_name["SessionService"]

    def __init__(
        self,
        *,
        sessions: Sessions,
        subscriptions: Subscriptions,
        drafts: Drafts,
        transfers: Transfers,
        limits: Limits,
    ) -> None:
        self._sessions = sessions
        self._subscriptions = subscriptions
        self._drafts = drafts
        self._transfers = transfers
        self._limits = limits
        self._contexts = RecentContextStructs()

    async def CreateSession(
        self, request: pb.CreateSessionRequest, caller: Caller
    ) -> pb.CreateSessionResponse:
        commit = await read(read_create, request, caller, self._limits)
        response = pb.CreateSessionResponse()
        put_session(response.session, await self._sessions.change(commit))
        return response

    async def GetSession(self, request: pb.GetSessionRequest, caller: Caller) -> pb.GetSessionResponse:
        wanted = await read(read_get, request, caller, self._limits)
        response = pb.GetSessionResponse()
        put_session(response.session, await self._sessions.get(wanted.key, wanted.at))
        return response

    async def UpdateSession(
        self, request: pb.UpdateSessionRequest, caller: Caller
    ) -> pb.UpdateSessionResponse:
        commit = await read(read_update, request, caller, self._limits)
        response = pb.UpdateSessionResponse()
        put_session(response.session, await self._sessions.change(commit))
        return response

    async def ListSessions(self, request: pb.ListSessionsRequest, caller: Caller) -> pb.ListSessionsResponse:
        query = await read(read_list, request, caller, self._limits)
        page = await self._sessions.page(query, request.page_token)
        response = pb.ListSessionsResponse(next_page_token=page.next_token)
        await converted(put_sessions, response.sessions, page.sessions, of=metadata_of(page.sessions))
        return response

    async def SearchSessions(
        self, request: pb.SearchSessionsRequest, caller: Caller
    ) -> pb.SearchSessionsResponse:
        query = await read(read_search, request, caller, self._limits)
        page = await self._sessions.page(query, request.page_token)
        response = pb.SearchSessionsResponse(next_page_token=page.next_token)
        await converted(put_sessions, response.sessions, page.sessions, of=metadata_of(page.sessions))
        return response

    async def ForkSession(self, request: pb.ForkSessionRequest, caller: Caller) -> pb.ForkSessionResponse:
        fork = await read(read_fork, request, caller, self._limits)
        response = pb.ForkSessionResponse()
        put_session(response.session, await self._sessions.fork(fork))
        return response

    async def DeleteSession(
        self, request: pb.DeleteSessionRequest, caller: Caller
    ) -> pb.DeleteSessionResponse:
        await self._sessions.commit(await read(read_delete, request, caller, self._limits))
        return pb.DeleteSessionResponse()

    async def StartSession(self, request: pb.StartSessionRequest, caller: Caller) -> pb.StartSessionResponse:
        response = pb.StartSessionResponse()
        put_session(response.session, await self._move(request, Verb.START, caller))
        return response

    async def PauseSession(self, request: pb.PauseSessionRequest, caller: Caller) -> pb.PauseSessionResponse:
        response = pb.PauseSessionResponse()
        put_session(response.session, await self._move(request, Verb.PAUSE, caller))
        return response

    async def ResumeSession(
        self, request: pb.ResumeSessionRequest, caller: Caller
    ) -> pb.ResumeSessionResponse:
        response = pb.ResumeSessionResponse()
        put_session(response.session, await self._move(request, Verb.RESUME, caller))
        return response

    async def EndSession(self, request: pb.EndSessionRequest, caller: Caller) -> pb.EndSessionResponse:
        response = pb.EndSessionResponse()
        put_session(response.session, await self._move(request, Verb.END, caller))
        return response

    async def ArchiveSession(
        self, request: pb.ArchiveSessionRequest, caller: Caller
    ) -> pb.ArchiveSessionResponse:
        response = pb.ArchiveSessionResponse()
        put_session(response.session, await self._move(request, Verb.ARCHIVE, caller))
        return response

    async def SetContext(self, request: pb.SetContextRequest, caller: Caller) -> pb.SetContextResponse:
        commit = await read(read_set_context, request, caller, self._limits)
        response = pb.SetContextResponse()
        context = await self._sessions.write_context(commit)
        await converted(put_context, response.context, context, of=[context.data])
        return response

    async def UpdateContext(
        self, request: pb.UpdateContextRequest, caller: Caller
    ) -> pb.UpdateContextResponse:
        commit = await read(read_update_context, request, caller, self._limits)
        response = pb.UpdateContextResponse()
        context = await self._sessions.write_context(commit)
        put = partial(self._contexts.put, commit.key)
        await converted(put_context, response.context, context, put, of=[context.data])
        return response

    async def GetContext(self, request: pb.GetContextRequest, caller: Caller) -> pb.GetContextResponse:
        wanted = await read(read_get_context, request, caller, self._limits)
        context, value = await self._sessions.context(*wanted)
        response = pb.GetContextResponse()
        if wanted.path:
            await converted(put_context_part, response.context, context, value, of=[value])
        else:
            await converted(put_context, response.context, context, STRUCTS.put, of=[context.data])
        return response

    async def AddMessage(self, request: pb.AddMessageRequest, caller: Caller) -> pb.AddMessageResponse:
        commit = await read(read_add_message, request, caller, self._limits)
        (message,) = await self._sessions.add_messages(commit)
        response = pb.AddMessageResponse()
        await converted(put_message, response.message, message, of=[message.body.data])
        return response

    async def AddMessages(self, request: pb.AddMessagesRequest, caller: Caller) -> pb.AddMessagesResponse:
        commit = await read(read_add_messages, request, caller, self._limits)
        response = pb.AddMessagesResponse()
        messages = await self._sessions.add_messages(commit)
        await converted(put_messages, response.messages, messages, of=data_of(messages))
        return response

    async def GetHistory(self, request: pb.GetHistoryRequest, caller: Caller) -> bytes:
        wanted = await read(read_get_history, request, caller, self._limits)
        page = await self._sessions.history(*wanted)
        return await converted(encode_history, page, of=data_of(messages_to_encode(page)))

    async def ClearHistory(self, request: pb.ClearHistoryRequest, caller: Caller) -> pb.ClearHistoryResponse:
        commit = await read(read_clear_history, request, caller, self._limits)
        return pb.ClearHistoryResponse(cleared_count=await self._sessions.clear_history(commit))

    async def Subscribe(self, request: pb.SubscribeRequest, caller: Caller, write: Write) -> None:
        wanted = await read(read_subscribe, request, caller, self._limits)
        key, kinds, after, log_id, changes, draft_seconds = wanted
        sink, drafts = _Subscriber(write, changes=changes), None
        if draft_seconds is not None:
            drafts = partial(self._drafts.view, key, sink.draft, draft_seconds)
        await self._subscriptions.follow(
            key, sink, kinds=kinds, after=after, log_id=log_id, changes=changes, drafts=drafts
        )

    async def ExportSession(self, request: pb.ExportSessionRequest, caller: Caller, write: Write) -> None:
        key = await read(read_named, request, caller, self._limits)
        async with aclosing(self._transfers.export(key)) as records:
            async for record in records:
                response = pb.ExportSessionResponse()
                await converted(put_record, response.record, record, of=json_of_record(record))
                await write(response.SerializeToString())

    async def ImportSession(
        self, requests: AsyncIterator[pb.ImportSessionRequest], caller: Caller
    ) -> pb.ImportSessionResponse:
        key, request_id, fails, records = await read_import(requests, caller=caller, limits=self._limits)
        session = await self._transfers.import_(
            key, records=records, fail_if_exists=fails, request_id=request_id
        )
        response = pb.ImportSessionResponse()
        put_session(response.session, session)
        return response

    async def _move(self, request: Move, verb: Verb, caller: Caller) -> Session:
        commit = await read(partial(read_move, verb=verb), request, caller, self._limits)
        return await self._sessions.change(commit)


class _Subscriber:
    """Writes a subscription's events to the wire; they are already encoded."""

    def __init__(self, write: Write, *, changes: bool) -> None:
        self._write = write
        self._encode = encode_event_with_changes if changes else encode_event

    def event(self, event: Event) -> Awaitable[None]:
        if not isinstance(event.data, Message):
            return self._write(self._encode(event))
        encoded = find_encoded(event)
        return self._convert(event, event.data) if encoded is None else self._write(encoded)

    async def _convert(self, event: Event, message: Message) -> None:
        await self._write(await converted(self._encode, event, of=[message.body.data]))

    async def checkpoint(self, position: Sequence, log_id: str) -> None:
        await self._write(encode_checkpoint(position, log_id))

    def draft(self, piece: Piece) -> Awaitable[None]:
        return self._write(encode_draft(piece))
