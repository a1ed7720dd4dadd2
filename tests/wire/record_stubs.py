"""Calls about records through the generated stubs."""

from __future__ import annotations

import uuid
from typing import Any

from sessions_proto.v1 import commits_pb2, commits_pb2_grpc, records_pb2, records_pb2_grpc
from tests.wire.stubs import Caller

MIB = 1024 * 1024


class Records:
    """A caller's records, in a collection that no other test uses."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.collection = f"test-{uuid.uuid4()}"
        self._commits: Any = commits_pb2_grpc.CommitServiceStub(caller.channel)
        self._records: Any = records_pb2_grpc.RecordServiceStub(caller.channel)

    def name(self, key: str = "k", *path: str, **scope: Any) -> records_pb2.RecordName:
        return records_pb2.RecordName(
            scope=records_pb2.Scope(**(scope or {"tenant": True})),
            collection=[self.collection, *path],
            key=key,
        )

    def commit(self, *operations: commits_pb2.Operation, **fields: Any) -> commits_pb2.CommitResponse:
        request = commits_pb2.CommitRequest(operations=operations, **fields)
        response: commits_pb2.CommitResponse = self._commits.Commit(request, metadata=self.caller.metadata)
        return response

    def put(
        self, name: records_pb2.RecordName, value: bytes = b"", *, if_absent: bool = False, **fields: Any
    ) -> Any:
        """The result of one put in its own commit."""
        return self.commit(
            self.putting(name, value, if_absent=if_absent, **fields), session_id=name.scope.session_id
        ).results[0]

    def putting(
        self, name: records_pb2.RecordName, value: bytes = b"", *, if_absent: bool = False, **fields: Any
    ) -> commits_pb2.Operation:
        record = records_pb2.Record(name=name, value=value, **fields)
        return commits_pb2.Operation(put=commits_pb2.RecordPut(record=record, if_absent=if_absent))

    def deleting(self, name: records_pb2.RecordName, *, prefix: bool = False) -> commits_pb2.Operation:
        return commits_pb2.Operation(delete=commits_pb2.RecordDelete(name=name, prefix=prefix))

    def get(self, name: records_pb2.RecordName, **fields: Any) -> records_pb2.Record:
        request = records_pb2.GetRecordRequest(name=name, **fields)
        record: records_pb2.Record = self._records.GetRecord(request, metadata=self.caller.metadata).record
        return record

    def page(self, **fields: Any) -> records_pb2.ListRecordsResponse:
        asked = {"scope": records_pb2.Scope(tenant=True), "collection": [self.collection], **fields}
        request = records_pb2.ListRecordsRequest(**asked)
        response: records_pb2.ListRecordsResponse = self._records.ListRecords(
            request, metadata=self.caller.metadata
        )
        return response

    def keys(self, **fields: Any) -> list[str]:
        """The keys of all pages."""
        found: list[str] = []
        token = ""
        while True:
            page = self.page(page_token=token, **fields)
            found += [record.name.key for record in page.records]
            token = page.next_page_token
            if not token:
                return found

    def collections(self, **fields: Any) -> records_pb2.ListCollectionsResponse:
        asked = {"scope": records_pb2.Scope(tenant=True), "prefix": [self.collection], **fields}
        request = records_pb2.ListCollectionsRequest(**asked)
        response: records_pb2.ListCollectionsResponse = self._records.ListCollections(
            request, metadata=self.caller.metadata
        )
        return response
