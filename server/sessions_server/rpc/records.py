"""The RPCs of RecordService, which read records. CommitService writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sessions_proto.v1 import records_pb2 as records_pb
from sessions_server.rpc.convert.common import read
from sessions_server.rpc.convert.records import (
    put_stored,
    read_get_record,
    read_list_collections,
    read_list_records,
)
from sessions_server.rpc.convert.records_encoded import encode_page

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Caller
    from sessions_server.service.records import StoredRecords


class RecordServicer:
    SERVICE: Final = records_pb.DESCRIPTOR.services_by_name["RecordService"]

    def __init__(self, *, records: StoredRecords, limits: Limits) -> None:
        self._records = records
        self._limits = limits

    async def GetRecord(
        self, request: records_pb.GetRecordRequest, caller: Caller
    ) -> records_pb.GetRecordResponse:
        name, refresh_ttl = await read(read_get_record, request, caller, self._limits)
        response = records_pb.GetRecordResponse()
        put_stored(response.record, await self._records.get(name, caller, refresh_ttl=refresh_ttl))
        return response

    async def ListRecords(self, request: records_pb.ListRecordsRequest, caller: Caller) -> bytes:
        query = await read(read_list_records, request, caller, self._limits)
        page = await self._records.page(query, request.page_token, caller)
        return encode_page(page.found, page.next_token)

    async def ListCollections(
        self, request: records_pb.ListCollectionsRequest, caller: Caller
    ) -> records_pb.ListCollectionsResponse:
        query = await read(read_list_collections, request, caller, self._limits)
        page = await self._records.collections(query, request.page_token)
        response = records_pb.ListCollectionsResponse(next_page_token=page.next_token)
        for path in page.paths:
            response.collections.add(path=path)
        return response
