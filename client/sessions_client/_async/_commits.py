"""Commits of several operations, reads of several things, and the methods built on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sessions_client import ops
from sessions_client._async._caller import AsyncResource
from sessions_client._commits import CommitResult, Removed
from sessions_client._convert import _commits as convert
from sessions_client._errors import NotFound
from sessions_client._models import Message, Span

if TYPE_CHECKING:
    from sessions_proto.v1 import commits_pb2 as pb


class AsyncCommitter(ABC):
    """Methods of everything that accepts commits: single calls and pipelines. `sessions_client.ops` has the parts."""

    @abstractmethod
    async def _commit(self, request: pb.CommitRequest, *, timeout: Span | None) -> pb.CommitResponse: ...

    async def commit(
        self,
        session_id: str | None,
        *operations: ops.Operation,
        conditions: Iterable[ops.Condition] = (),
        create: ops.NewSession | None = None,
        reads: Iterable[ops.Read] = (),
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> CommitResult:
        """Applies up to 4,000 operations in order, all or none: to this session, to records, or to both.

        `conditions`, at most 100, must hold before the first operation. `create` creates the session first, with a
        server-made id if `session_id` is None. A commit of shared records alone has no session: None. `reads`, at
        most 100, return the state right after the commit.

        Raises Aborted if a condition fails, with its index in `metadata["condition"]`; and whatever an operation
        raises on its own, with its index in `metadata["operation"]`."""
        request = convert.commit_request(
            session_id,
            operations,
            conditions=conditions,
            create=create,
            reads=reads,
            request_id=request_id,
        )
        response = await self._commit(request, timeout=timeout)
        return convert.read_commit(request, response)

    async def truncate_history(
        self,
        session_id: str,
        *,
        newest: int | None = None,
        oldest: int | None = None,
        after_sequence: int | None = None,
        through_sequence: int | None = None,
        return_removed: bool = False,
        request_id: str | None = None,
        timeout: Span | None = None,
    ) -> Removed:
        """Removes messages from one end of the history permanently: this many of the `newest` or `oldest`, those
        `after_sequence`, or those up to and including `through_sequence`. Give exactly one of these.

        `return_removed` returns the removed messages, which must fit into one response of 4 MiB; otherwise
        ResourceExhausted is raised and nothing is removed."""
        operation = ops.truncate(
            newest=newest,
            oldest=oldest,
            after_sequence=after_sequence,
            through_sequence=through_sequence,
            return_removed=return_removed,
        )
        result = await self.commit(session_id, operation, request_id=request_id, timeout=timeout)
        removed: Removed = result.results[0]
        return removed

    async def pop_message(
        self, session_id: str, *, request_id: str | None = None, timeout: Span | None = None
    ) -> Message | None:
        """Removes the newest message permanently and returns it; None if the history is empty."""
        removed = await self.truncate_history(
            session_id, newest=1, return_removed=True, request_id=request_id, timeout=timeout
        )
        return removed.messages[0] if removed.messages else None


class AsyncCommits(AsyncCommitter, AsyncResource):
    """Changes and reads several things in one step."""

    async def _commit(self, request: pb.CommitRequest, *, timeout: Span | None) -> pb.CommitResponse:
        return await self._caller.unary(self._caller.commits.Commit, request, timeout=timeout)

    async def read(self, *reads: ops.Read, timeout: Span | None = None) -> list[Any]:
        """Reads 1 to 100 things as of one instant; returns one result for each.

        A result is what the single call returns, None if the session, message or record does not exist, or
        `LEFT_OUT` if the response was full, at about 3 MiB."""
        request = convert.read_request(reads)
        response = await self._caller.unary(self._caller.commits.Read, request, timeout=timeout)
        return convert.read_results(response.results)

    async def get_message(self, session_id: str, message_id: str, *, timeout: Span | None = None) -> Message:
        """Returns one message of the history. Raises NotFound if the history has none with this id."""
        (message,) = await self.read(ops.read_message(session_id, message_id), timeout=timeout)
        if not isinstance(message, Message):
            raise NotFound("There is no such message in the session's history; check both ids.")
        return message
