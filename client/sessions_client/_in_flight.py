"""The commits of a pipeline that have no outcome yet. Pure: no stream, no clock, no waiting.

Invariant: a commit stays here until its outcome is known, so what a broken stream lost is sent again on the next one,
in the same order and under the same request ids.
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
"""How many commits are under way at most, which is what the server takes before it stops reading."""

MOST_BYTES = 8 * 1024 * 1024
"""How many bytes of commits are under way at most."""

BATCH_COMMITS = 1000
"""How many commits one request of the stream carries at most."""

BATCH_BYTES = 1024 * 1024
"""At how many bytes a request of the stream is full; one commit may be larger."""


_TAG_BYTES = 32
"""At most what a request of the stream has around a single commit."""


class Flight(Generic[W]):
    """One commit without an outcome, and what waits for that. Raises ResourceExhausted for one that no server takes."""

    __slots__ = ("commit", "size", "tag", "waiter", "was_sent")

    def __init__(self, commit: pb.CommitRequest, waiter: W) -> None:
        check_size(commit, around=_TAG_BYTES)
        self.commit = commit
        self.waiter = waiter
        self.size = commit.ByteSize()
        self.tag = 0
        self.was_sent = False


class InFlight(Generic[W]):
    """The commits under way, in the order in which they were submitted."""

    def __init__(self) -> None:
        self._flights: dict[int, Flight[W]] = {}
        self._unsent: deque[Flight[W]] = deque()
        self._bytes = 0
        self._last_tag = 0

    def __len__(self) -> int:
        return len(self._flights)

    def has_room(self, flight: Flight[W]) -> bool:
        """Whether the commit may come in now."""
        return len(self._flights) < MOST_COMMITS and self._bytes + flight.size <= MOST_BYTES

    def add(self, flight: Flight[W]) -> None:
        """Takes a commit in, to be sent after those before it."""
        self._last_tag = flight.tag = self._last_tag + 1
        self._flights[flight.tag] = flight
        self._unsent.append(flight)
        self._bytes += flight.size

    def next_request(self) -> pb.StreamCommitsRequest | None:
        """As many of the unsent commits as fit into one request; None when there are none."""
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

    def settle(self, tag: int) -> Flight[W] | None:
        """Lets a commit go whose outcome is known, or which nobody waits for any more; None for a tag that is not
        here."""
        flight = self._flights.pop(tag, None)
        if flight is not None:
            self._bytes -= flight.size
        return flight

    def settle_all(self) -> Iterable[Flight[W]]:
        """Lets every commit go."""
        flights = list(self._flights.values())
        self._flights.clear()
        self._unsent.clear()
        self._bytes = 0
        return flights

    def send_again(self) -> None:
        """Everything here is unsent from now on: the stream that it was sent on is over."""
        self._unsent = deque(self._flights.values())


def outcome_of(flight: Flight[W], outcome: pb.CommitOutcome) -> pb.CommitResponse | SessionsError:
    """The response of a commit, or the error that its single call would have raised."""
    if not outcome.HasField("failure"):
        return outcome.response
    error = failure_of(outcome.failure)
    error.request_id = flight.commit.request_id
    return error


E = TypeVar("E", bound=Exception)


def error_for(flight: Flight[W], error: E) -> E:
    """What ended the stream, as the error of one of its commits."""
    if not isinstance(error, SessionsError):
        return error
    own = copy(error)
    own.request_id = flight.commit.request_id
    own.may_have_happened = flight.was_sent
    return own


def pipeline_closed() -> RuntimeError:
    """What every use of a pipeline raises that was closed."""
    return RuntimeError("This pipeline is closed; make a new one with `client.pipeline()`.")
