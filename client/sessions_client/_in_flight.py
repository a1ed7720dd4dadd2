"""The commits of a pipeline without an outcome. Pure: no stream, no clock, no waiting.

Invariant: a commit stays here until its outcome is known, so commits lost with a broken stream are sent again on the
next one, in the same order and with the same request ids.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from copy import copy
from typing import Generic, TypeVar

from sessions_client._convert._commits import failure_of
from sessions_client._convert._scalars import check_size
from sessions_client._errors import SessionsError
from sessions_proto.v1 import commits_pb2 as pb

W = TypeVar("W")

MOST_COMMITS = 1024
"""The maximum number of commits in flight; the server stops reading at this many."""

MOST_BYTES = 8 * 1024 * 1024
"""The maximum size of the commits in flight."""

BATCH_COMMITS = 1000
"""The maximum number of commits in one request of the stream."""

BATCH_BYTES = 1024 * 1024
"""The size at which a request of the stream is full; a single commit may be larger."""


_TAG_BYTES = 32
"""The maximum overhead around a single commit in a request of the stream."""


class Flight(Generic[W]):
    """One commit without an outcome, and what waits for it. Raises ResourceExhausted for a commit too large for any
    server."""

    __slots__ = ("commit", "size", "tag", "waiter", "was_sent")

    def __init__(self, commit: pb.CommitRequest, waiter: W) -> None:
        check_size(commit, around=_TAG_BYTES)
        self.commit = commit
        self.waiter = waiter
        self.size = commit.ByteSize()
        self.tag = 0
        self.was_sent = False


class InFlight(Generic[W]):
    """The commits in flight, in order of submission."""

    def __init__(self) -> None:
        self._flights: dict[int, Flight[W]] = {}
        self._unsent: deque[Flight[W]] = deque()
        self._bytes = 0
        self._last_tag = 0

    def __len__(self) -> int:
        return len(self._flights)

    def has_room(self, flight: Flight[W]) -> bool:
        """Whether the commit may be added now."""
        return len(self._flights) < MOST_COMMITS and self._bytes + flight.size <= MOST_BYTES

    def add(self, flight: Flight[W]) -> None:
        """Adds a commit, to be sent after those before it."""
        self._last_tag = flight.tag = self._last_tag + 1
        self._flights[flight.tag] = flight
        self._unsent.append(flight)
        self._bytes += flight.size

    def next_request(self) -> pb.StreamCommitsRequest | None:
        """The unsent commits that fit into one request; None if there are none."""
        request = pb.StreamCommitsRequest()
        room = BATCH_BYTES
        while self._unsent and len(request.commits) < BATCH_COMMITS:
            if request.commits and self._unsent[0].size > room:
                break
            flight = self._unsent.popleft()
            if flight.tag in self._flights:
                request.commits.add(tag=flight.tag, commit=flight.commit)
                flight.was_sent = True
                room -= flight.size
        return request if request.commits else None

    def pop(self, tag: int) -> Flight[W] | None:
        """Removes a commit whose outcome is known or no longer awaited; None for an unknown tag."""
        flight = self._flights.pop(tag, None)
        if flight is not None:
            self._bytes -= flight.size
        return flight

    def pop_all(self) -> Iterable[Flight[W]]:
        """Removes every commit."""
        flights = list(self._flights.values())
        self._flights.clear()
        self._unsent.clear()
        self._bytes = 0
        return flights

    def send_again(self) -> None:
        """Marks all commits as unsent, because the stream that carried them has ended."""
        self._unsent = deque(self._flights.values())


def outcome_of(flight: Flight[W], outcome: pb.CommitOutcome) -> pb.CommitResponse | SessionsError:
    """The response to a commit, or the error that the single call would have raised."""
    if not outcome.HasField("failure"):
        return outcome.response
    error = failure_of(outcome.failure)
    error.request_id = flight.commit.request_id
    return error


E = TypeVar("E", bound=Exception)


def error_for(flight: Flight[W], error: E) -> E:
    """The error that ended the stream, as the error of one of its commits."""
    if not isinstance(error, SessionsError):
        return error
    own = copy(error)
    own.request_id = flight.commit.request_id
    own.may_have_happened = flight.was_sent
    return own


def pipeline_closed() -> RuntimeError:
    """The error of every use of a closed pipeline."""
    return RuntimeError("This pipeline is closed; make a new one with `client.pipeline()`.")
