"""One stream of commits shared by many threads. `_async/_pipe.py` does the same for tasks and is also written by hand.

Commits submitted while a request is being written go into the next request, so with more callers each request carries
more commits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeAlias

import grpc

from sessions_client._errors import SessionsError, error_from, no_answer
from sessions_client._in_flight import Flight, InFlight, error_for, outcome_of, pipeline_closed
from sessions_client._models import Span
from sessions_client._retry import delay_before_new_stream
from sessions_client._sync._backend import Worker
from sessions_proto.v1 import commits_pb2 as pb

if TYPE_CHECKING:
    from sessions_client._deadline import Deadline
    from sessions_client._sync._caller import Caller
    from sessions_client._sync._connection import CommitsStub

Waiter: TypeAlias = "Future[pb.CommitResponse]"


class Pipe:
    """Sends commits and returns their outcomes, across broken streams."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._in_flight: InFlight[Waiter] = InFlight()
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._submitted = threading.Condition(self._lock)
        self._running: Worker | None = None
        self._call: grpc.Call | None = None
        self._broken: SessionsError | None = None
        """Why there is no stream at the moment."""
        self._closing = False

    def submit(self, commit: pb.CommitRequest, *, timeout: Span | None) -> pb.CommitResponse:
        """The response to a commit. Raises the error that the single call would; RuntimeError once closed."""
        deadline = self._caller.deadline(timeout)
        flight: Flight[Waiter] = Flight(commit, Future())
        self._enter(flight, deadline)
        try:
            return flight.waiter.result(deadline.remaining())
        except TimeoutError:
            self._give_up(flight)
        return flight.waiter.result()

    def close(self) -> None:
        """Waits for every outcome, and ends the stream."""
        with self._lock:
            self._closing = True
            self._submitted.notify_all()
        if self._running is not None:
            self._running.join()

    def _enter(self, flight: Flight[Waiter], deadline: Deadline) -> None:
        """Waits until there is room."""
        with self._lock:
            if self._closing:
                raise pipeline_closed()
            if not self._left.wait_for(lambda: self._in_flight.has_room(flight), deadline.remaining()):
                raise error_for(flight, self._broken or no_answer())
            self._in_flight.add(flight)
            if self._running is None:
                self._running = Worker(self._run, name="sessions pipeline")
            self._submitted.notify_all()

    def _run(self) -> None:
        """Keeps a stream open while there is anything to send or to wait for."""
        failures = 0
        while self._await_commits():
            try:
                failures = self._attempt(failures)
            except Exception as failure:  # the token source's own error, or a closed client
                self._fail(failure)
            with self._lock:
                self._in_flight.send_again()

    def _await_commits(self) -> bool:
        """Waits until there is something to send; False if nothing more will come."""
        with self._lock:
            self._submitted.wait_for(lambda: self._closing or self._in_flight)
            return bool(self._in_flight)

    def _attempt(self, failures: int) -> int:
        """Runs one stream, and waits if it broke; returns how often that has happened since a stream last worked."""
        try:
            with self._caller.connection.in_use(), self._caller.connection.place() as place:
                self._stream(place.stubs.commits)
        except SessionsError as error:
            failures = 0 if self._broken is None else failures
            delay = delay_before_new_stream(error, attempt=failures, backoff=self._caller.backoff)
            if delay is None:
                raise
            self._broken = error
            self._caller.connection.pause(delay)
            return failures + 1
        return 0

    def _stream(self, commits: CommitsStub) -> None:
        """Runs one stream from start to end. Raises SessionsError if it breaks."""
        stream = _Stream()
        call = commits.StreamCommits(self._requests(stream), metadata=self._caller.metadata())
        with self._lock:
            self._call = call
        try:
            for response in call:
                self._broken = None
                with self._lock:
                    settled = [(self._in_flight.pop(outcome.tag), outcome) for outcome in response.outcomes]
                    self._left.notify_all()
                for flight, outcome in settled:
                    if flight is not None:
                        _resolve(flight, outcome_of(flight, outcome))
        except grpc.RpcError as failure:
            if self._closing and not self._in_flight:
                return  # cancelled by `_give_up`
            raise error_from(failure) from failure
        finally:
            with self._lock:
                self._call = None
                stream.is_over = True
                self._submitted.notify_all()
            call.cancel()

    def _requests(self, stream: _Stream) -> Iterator[pb.StreamCommitsRequest]:
        """The requests of the stream. gRPC reads them in its own thread, which ends with the stream."""
        while True:
            with self._lock:
                request = None
                while not stream.is_over and (request := self._in_flight.next_request()) is None:
                    if self._closing:
                        return
                    self._submitted.wait()
            if request is None:
                return
            yield request

    def _give_up(self, flight: Flight[Waiter]) -> None:
        """Ends a commit whose deadline has passed."""
        with self._lock:
            if self._in_flight.pop(flight.tag) is None:
                return  # its outcome has just arrived
            self._left.notify_all()
            is_last = self._closing and not self._in_flight
            call = self._call
        _resolve(flight, error_for(flight, self._broken or no_answer()))
        if is_last and call is not None:
            call.cancel()

    def _fail(self, error: Exception) -> None:
        self._broken = None
        with self._lock:
            flights = self._in_flight.pop_all()
            self._left.notify_all()
        for flight in flights:
            _resolve(flight, error_for(flight, error))


class _Stream:
    """Whether a stream has ended, so that the sender stops too."""

    is_over = False


def _resolve(flight: Flight[Waiter], result: pb.CommitResponse | Exception) -> None:
    if isinstance(result, Exception):
        flight.waiter.set_exception(result)
    else:
        flight.waiter.set_result(result)
