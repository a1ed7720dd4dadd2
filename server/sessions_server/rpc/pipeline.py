"""One stream of commits: each goes to the writer on arrival, and its outcome is sent when it is durable.

Commits of one session are decided in order of arrival: they are forwarded in that order, and nothing waits in between.
A broken stream loses outcomes, never commits: the caller sends those commits again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import uuid_utils

from sessions_proto.v1 import commits_pb2 as commits_pb
from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.rpc.convert.commits import put_committed, read_commit
from sessions_server.rpc.convert.common import read
from sessions_server.rpc.errors import Internal, as_domain_error, printable, put_failure

if TYPE_CHECKING:
    from sessions_server.domain.commit import Commit, Committed
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Caller
    from sessions_server.rpc.calls import Write
    from sessions_server.service.sessions import Sessions

MOST_COMMITS: Final = 1024
"""How many commits of a stream may be in progress before reading pauses."""

MOST_BYTES: Final = 8 * 1024 * 1024
"""How many bytes of commits may be in progress; a larger commit runs alone."""

COMMITS_PER_REQUEST: Final = 1000

RESPONSE_BYTES: Final = 1024 * 1024
"""The size at which a response is full; a larger outcome is sent alone."""

logger = logging.getLogger(__name__)


class Pipeline:
    def __init__(self, sessions: Sessions, caller: Caller, limits: Limits) -> None:
        self._sessions = sessions
        self._caller = caller
        self._limits = limits
        self._under_way = 0
        self._bytes = 0
        self._outcomes: deque[_Ended] = deque()
        self._ended = asyncio.Event()
        """Set when a commit has ended, or no more requests will come."""
        self._left = asyncio.Event()
        """Set when an outcome has been written, which makes room."""
        self._complete = False
        """Whether the last request has been read."""

    async def run(self, requests: AsyncIterator[commits_pb.StreamCommitsRequest], write: Write) -> None:
        """Returns when the caller has half-closed the stream and every outcome is written."""
        writing = asyncio.create_task(self._write_outcomes(write))
        writing.add_done_callback(lambda _: self._left.set())
        try:
            async for request in requests:
                for tagged in _commits_of(request):
                    await self._send(tagged, writing)
            self._complete = True
            self._ended.set()
            await writing
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _send(self, tagged: commits_pb.TaggedCommit, writing: asyncio.Task[None]) -> None:
        size = tagged.commit.ByteSize()
        while self._under_way and not self._has_room(size):
            self._left.clear()
            await self._left.wait()
            if writing.done():
                await writing  # raises the error that ended it
        self._under_way += 1
        self._bytes += size
        try:
            commit = await read(read_commit, tagged.commit, self._caller, self._limits)
            result = asyncio.ensure_future(self._sessions.send(commit))
        except Exception as error:
            self._end(tagged, size, error)
        else:
            result.add_done_callback(partial(self._settle, tagged, size, commit))

    def _has_room(self, size: int) -> bool:
        return self._under_way < MOST_COMMITS and self._bytes + size <= MOST_BYTES

    def _settle(
        self, tagged: commits_pb.TaggedCommit, size: int, commit: Commit, done: asyncio.Future[Committed]
    ) -> None:
        if done.cancelled():
            self._end(tagged, size, asyncio.CancelledError())
        elif (error := done.exception()) is not None:
            self._end(tagged, size, error)
        else:
            response = commits_pb.StreamCommitsResponse()
            outcome = response.outcomes.add(tag=tagged.tag)
            outcome.response.SetInParent()  # an empty commit has an empty response, which is still one
            put_committed(outcome.response, commit, done.result(), self._limits)
            self._outcomes.append(_Ended(response.SerializeToString(), size))
            self._ended.set()

    def _end(self, tagged: commits_pb.TaggedCommit, size: int, error: BaseException) -> None:
        request_id = tagged.commit.request_id or str(uuid_utils.uuid7())
        known = as_domain_error(error, request_id=request_id)
        if isinstance(known, Internal):
            facts = {"request_id": printable(request_id)}
            logger.error("commit of a stream", extra={"facts": facts}, exc_info=error)
        response = commits_pb.StreamCommitsResponse()
        put_failure(response.outcomes.add(tag=tagged.tag).failure, known)
        self._outcomes.append(_Ended(response.SerializeToString(), size))
        self._ended.set()

    async def _write_outcomes(self, write: Write) -> None:
        """Writes outcomes as they arrive, several in one response if they are ready."""
        while self._under_way or not self._complete:
            self._ended.clear()
            if not self._outcomes:
                await self._ended.wait()
                continue
            ended = self._next_response()
            await write(b"".join(each.response for each in ended))  # one message with all outcomes
            self._under_way -= len(ended)
            self._bytes -= sum(each.size for each in ended)
            self._left.set()

    def _next_response(self) -> list[_Ended]:
        """The outcomes of a full response."""
        ended = [self._outcomes.popleft()]
        room = RESPONSE_BYTES - len(ended[0].response)
        while self._outcomes and (room := room - len(self._outcomes[0].response)) >= 0:
            ended.append(self._outcomes.popleft())
        return ended


class _Ended(NamedTuple):
    """A finished commit."""

    response: bytes
    """A response with only its outcome."""
    size: int
    """The size of the commit."""


def _commits_of(request: commits_pb.StreamCommitsRequest) -> Iterable[commits_pb.TaggedCommit]:
    if not 1 <= len(request.commits) <= COMMITS_PER_REQUEST:
        raise InvalidRequest([Violation("commits", f"Must have 1 to {COMMITS_PER_REQUEST:,} commits.")])
    return request.commits
