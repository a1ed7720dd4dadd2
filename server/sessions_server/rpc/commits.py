"""The RPCs of CommitService: commits of several operations, and combined reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from sessions_proto.v1 import commits_pb2 as commits_pb
from sessions_server.rpc.convert.commits import encode_response, put_committed, read_commit
from sessions_server.rpc.convert.common import read
from sessions_server.rpc.convert.large import converted, json_of, json_of_committed
from sessions_server.rpc.convert.reads import check_refresh, read_reads
from sessions_server.rpc.pipeline import Pipeline

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Caller
    from sessions_server.rpc.calls import Write
    from sessions_server.service.sessions import Sessions


class CommitServicer:
    SERVICE: Final = commits_pb.DESCRIPTOR.services_by_name["CommitService"]

    def __init__(self, *, sessions: Sessions, limits: Limits) -> None:
        self._sessions = sessions
        self._limits = limits

    async def Commit(self, request: commits_pb.CommitRequest, caller: Caller) -> commits_pb.CommitResponse:
        commit = await read(read_commit, request, caller, self._limits)
        response = commits_pb.CommitResponse()
        committed = await self._sessions.commit(commit)
        await converted(
            put_committed, response, commit, committed, self._limits, of=json_of_committed(committed)
        )
        return response

    async def Read(self, request: commits_pb.ReadRequest, caller: Caller) -> bytes:
        reads = await read(read_reads, request, caller, self._limits)
        check_refresh(reads, caller)
        found = await self._sessions.read(reads)
        return await converted(encode_response, reads, found, self._limits, of=json_of(found))

    async def StreamCommits(
        self, requests: AsyncIterator[commits_pb.StreamCommitsRequest], caller: Caller, write: Write
    ) -> None:
        await Pipeline(self._sessions, caller, self._limits).run(requests, write)
