"""One stream of commits shared by many tasks. `_sync/_pipe.py` does the same for threads and is also written by hand.

Commits submitted while a request is being written go into the next request, so with more callers each request carries
more commits."""

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
    """Sends commits and returns their outcomes, across broken streams."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller
        self._in_flight: InFlight[Waiter] = InFlight()
        self._entrance = asyncio.Lock()
        self._left = asyncio.Event()
        self._submitted = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._call: Call | None = None
        self._broken: SessionsError | None = None
        """Why there is no stream at the moment."""
        self._closing = False

    async def submit(self, commit: pb.CommitRequest, *, timeout: Span | None) -> pb.CommitResponse:
        """The response to a commit. Raises the error that the single call would; RuntimeError once closed."""
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
        """Waits until there is room, first come, first served, however small a commit is."""
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
            except Exception as failure:  # the token source's own error, or a closed client
                self._fail(failure)
            self._in_flight.send_again()
            if self._in_flight:
                self._submitted.set()

    async def _attempt(self, failures: int) -> int:
        """Runs one stream, and waits if it broke; returns how often that has happened since a stream last worked."""
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
        """Runs one stream from start to end. Raises SessionsError if it breaks."""
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
            # The read raises the same error as the write.
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
        flight = self._in_flight.pop(outcome.tag)
        if flight is None or flight.waiter.done():
            return
        result = outcome_of(flight, outcome)
        if isinstance(result, SessionsError):
            flight.waiter.set_exception(result)
        else:
            flight.waiter.set_result(result)

    def _give_up(self, flight: Flight[Waiter]) -> None:
        """Ends a commit whose deadline has passed."""
        self._in_flight.pop(flight.tag)
        self._left.set()
        if not flight.waiter.done():
            flight.waiter.set_exception(error_for(flight, self._broken or no_answer()))
        if self._closing and not self._in_flight and self._call is not None:
            self._call.cancel()

    def _fail(self, error: Exception) -> None:
        self._broken = None
        for flight in self._in_flight.pop_all():
            if not flight.waiter.done():
                flight.waiter.set_exception(error_for(flight, error))
        self._submitted.clear()
        self._left.set()
