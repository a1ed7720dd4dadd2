"""The RPCs of DraftService: messages in progress. Subscribers receive them through Subscribe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sessions_proto.v1 import drafts_pb2 as drafts_pb
from sessions_server.rpc.convert.common import read
from sessions_server.rpc.convert.drafts import read_commit_draft, read_write_draft
from sessions_server.rpc.convert.responses import put_message

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Caller
    from sessions_server.service.drafts import Drafts


class DraftServicer:
    SERVICE: Final = drafts_pb.DESCRIPTOR.services_by_name["DraftService"]

    def __init__(self, *, drafts: Drafts, limits: Limits) -> None:
        self._drafts = drafts
        self._limits = limits

    async def WriteDraft(
        self, request: drafts_pb.WriteDraftRequest, caller: Caller
    ) -> drafts_pb.WriteDraftResponse:
        written = await self._drafts.write(await read(read_write_draft, request, caller, self._limits))
        return drafts_pb.WriteDraftResponse(position=written.position, watchers=written.watchers)

    async def CommitDraft(
        self, request: drafts_pb.CommitDraftRequest, caller: Caller
    ) -> drafts_pb.CommitDraftResponse:
        message = await self._drafts.commit(await read(read_commit_draft, request, caller, self._limits))
        response = drafts_pb.CommitDraftResponse()
        put_message(response.message, message)
        return response
