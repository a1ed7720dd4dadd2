"""One stream of commits under many tasks. `_sync/_pipe.py` offers the same to many threads and is written by hand too.

Whatever is submitted while a request is being written goes into the next request, so the more callers there are, the
more commits one request carries."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

import grpc
import grpc.aio

from sessions_client._errors import SessionsError, error_from, no_answer
from sessions_client._in_flight import Flight, InFlight, error_for, outcome_of, pipeline_closed
from sessions_client._models import Span
from sessions_client._retry import delay_before_new_stream
from sessions_proto.v1 import commits_pb2 as pb

if TYPE_CHECKING:
    from sessions_client._async._caller import AsyncCaller
    from sessions_client._async._connection import CommitsStub
    from sessions_client._deadline import Deadline

Waiter: TypeAlias = "asyncio.Future[pb.CommitResponse]"
Call: TypeAlias = "grpc.aio.StreamStreamCall[pb.StreamCommitsRequest, pb.StreamCommitsResponse]"


class Pipe:
    """Sends commits and hands back their outcomes, across broken streams."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller
        self._in_flight: InFlight[Waiter] = InFlight()
        self._entrance = asyncio.Lock()
        self._left = asyncio.Event()
        self._submitted = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._call: Call | None = None
        self._broken: SessionsError | None = None
        """Why there is no stream just now."""
        self._closing = False

    async def submit(self, commit: pb.CommitRequest, *, timeout: Span | None) -> pb.CommitResponse:
        """The response to a commit. Raises the error of its single call; RuntimeError once closed."""
        if self._closing:
            raise pipeline_closed()
        deadline = self._caller.deadline(timeout)
        flight = Flight(commit, asyncio.get_running_loop().create_future())
        if self._entrance.locked() or not self._in_flight.has_room(flight):
            await self._enter(flight, deadline)
        else:
            self._in_flight.add(flight)
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="sessions pipeline")
        self._submitted.set()
        alarm = asyncio.get_running_loop().call_later(deadline.remaining(), self._give_up, flight)
        try:
            response: pb.CommitResponse = await flight.waiter
            return response
        finally:
            alarm.cancel()

    async def close(self) -> None:
        """Waits for every outcome, and ends the stream."""
        self._closing = True
        self._submitted.set()
        if self._running is not None:
            await self._running

    async def _enter(self, flight: Flight[Waiter], deadline: Deadline) -> None:
        """Waits until there is room. The first to come is the first to enter, however small the others are."""
        try:
            async with asyncio.timeout(deadline.remaining()), self._entrance:
                while not self._in_flight.has_room(flight):
                    self._left.clear()
                    await self._left.wait()
                self._in_flight.add(flight)
        except TimeoutError:
            raise error_for(flight, self._broken or no_answer()) from None

    async def _run(self) -> None:
        """Keeps a stream open while there is anything to send or to wait for."""
        failures = 0
        while True:
            await self._submitted.wait()
            if self._closing and not self._in_flight:
                return
            try:
                failures = await self._attempt(failures)
            except Exception as failure:  # the token source's own, or that the client was closed
                self._fail(failure)
            self._in_flight.send_again()
            if self._in_flight:
                self._submitted.set()

    async def _attempt(self, failures: int) -> int:
        """One stream, and the pause after it if it broke; how often that has happened since it last worked."""
        try:
            with self._caller.connection.in_use(), self._caller.connection.place() as place:
                await self._stream(place.stubs.commits)
        except SessionsError as error:
            failures = 0 if self._broken is None else failures
            delay = delay_before_new_stream(error, attempt=failures, backoff=self._caller.backoff)
            if delay is None:
                raise
            self._broken = error
            await self._caller.revive()
            await self._caller.connection.pause(delay)
            return failures + 1
        return 0

    async def _stream(self, commits: CommitsStub) -> None:
        """One stream, from its start to its end. Raises SessionsError when it breaks."""
        self._call = call = commits.StreamCommits(metadata=self._caller.metadata())
        sending = asyncio.create_task(self._send(call))
        try:
            while isinstance(response := await call.read(), pb.StreamCommitsResponse):
                self._broken = None
                for outcome in response.outcomes:
                    self._settle(outcome)
                self._left.set()
        except grpc.RpcError as failure:
            raise error_from(failure) from failure
        except asyncio.CancelledError:
            # gRPC raises this for a call that `_give_up` cancelled.
            if not self._closing or self._in_flight:
                raise
        finally:
            self._call = None
            call.cancel()
            sending.cancel()
            # What a write raises is what the read raises too.
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, call: Call) -> None:
        while True:
            request = self._in_flight.next_request()
            if request is not None:
                await call.write(request)
            elif self._closing:
                return await call.done_writing()
            else:
                self._submitted.clear()
                await self._submitted.wait()

    def _settle(self, outcome: pb.CommitOutcome) -> None:
        flight = self._in_flight.settle(outcome.tag)
        if flight is None or flight.waiter.done():
            return
        result = outcome_of(flight, outcome)
        if isinstance(result, SessionsError):
            flight.waiter.set_exception(result)
        else:
            flight.waiter.set_result(result)

    def _give_up(self, flight: Flight[Waiter]) -> None:
        """The time of a commit is over."""
        self._in_flight.settle(flight.tag)
        self._left.set()
        if not flight.waiter.done():
            flight.waiter.set_exception(error_for(flight, self._broken or no_answer()))
        if self._closing and not self._in_flight and self._call is not None:
            self._call.cancel()

    def _fail(self, error: Exception) -> None:
        for flight in self._in_flight.settle_all():
            if not flight.waiter.done():
                flight.waiter.set_exception(error_for(flight, error))
        self._submitted.clear()
        self._left.set()
