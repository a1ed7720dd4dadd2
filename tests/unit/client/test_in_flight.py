"""The commits of a pipeline without an outcome."""

from __future__ import annotations

import contextlib

import pytest

from sessions_client import DeadlineExceeded, NotFound, ResourceExhausted, SessionsError
from sessions_client._convert._scalars import MAX_REQUEST_BYTES
from sessions_client._in_flight import (
    BATCH_BYTES,
    BATCH_COMMITS,
    MOST_BYTES,
    MOST_COMMITS,
    Flight,
    InFlight,
    error_for,
    outcome_of,
)
from sessions_proto.v1 import commits_pb2 as commits_pb, sessions_pb2 as pb


def flight(name: str = "r", *, payload: int = 0) -> Flight[str]:
    append = commits_pb.Operation(append=pb.Message(payload=bytes(payload)))
    return Flight(commits_pb.CommitRequest(request_id=name, operations=[append]), name)


def filled(count: int, *, payload: int = 0) -> InFlight[str]:
    commits: InFlight[str] = InFlight()
    for number in range(count):
        commits.add(flight(str(number), payload=payload))
    return commits


def sent(commits: InFlight[str]) -> list[str]:
    """The request ids of everything that is sent, in order."""
    names: list[str] = []
    while (request := commits.next_request()) is not None:
        names += [tagged.commit.request_id for tagged in request.commits]
    return names


def test_commits_are_sent_once_and_in_order() -> None:
    commits = filled(3)
    assert sent(commits) == ["0", "1", "2"]
    assert commits.next_request() is None
    commits.add(flight("3"))
    assert sent(commits) == ["3"]


def test_commits_without_an_outcome_are_sent_again_in_order_before_new_ones() -> None:
    commits = filled(4)
    assert sent(commits) == ["0", "1", "2", "3"]
    assert commits.pop(2) is not None
    commits.add(flight("4"))
    commits.send_again()
    assert sent(commits) == ["0", "2", "3", "4"]


def test_a_repeated_or_late_outcome_is_ignored() -> None:
    commits = filled(1)
    assert commits.pop(1) is not None
    assert commits.pop(1) is None
    assert commits.pop(99) is None


def test_abandoned_commits_are_not_sent() -> None:
    commits = filled(2)
    commits.pop(1)
    assert sent(commits) == ["1"]


def test_the_number_of_commits_is_bounded() -> None:
    commits = filled(MOST_COMMITS)
    assert not commits.has_room(flight())
    commits.pop(1)
    assert commits.has_room(flight())


def test_the_size_of_commits_is_bounded() -> None:
    commits = filled(3, payload=MOST_BYTES // 3 - 500)
    assert commits.has_room(flight(payload=500))
    assert not commits.has_room(flight(payload=2000))
    assert list(commits.pop_all())
    assert commits.has_room(flight(payload=2000))


def test_a_request_is_full_at_a_number_of_commits_or_bytes() -> None:
    request = filled(BATCH_COMMITS + 1).next_request()
    assert request is not None
    assert len(request.commits) == BATCH_COMMITS
    request = filled(4, payload=BATCH_BYTES // 2).next_request()
    assert request is not None
    assert len(request.commits) == 1
    request = filled(2, payload=3 * BATCH_BYTES).next_request()
    assert request is not None
    assert len(request.commits) == 1


def test_a_commit_too_large_for_any_server_is_refused_before_sending() -> None:
    commits: InFlight[str] = InFlight()
    for less in range(0, 100, 5):
        with contextlib.suppress(ResourceExhausted):
            commits.add(flight(payload=4 * 1024 * 1024 - less))
            request = commits.next_request()
            assert request is not None
            assert request.ByteSize() <= MAX_REQUEST_BYTES
    assert len(commits)
    with pytest.raises(ResourceExhausted, match="at most 4 MiB"):
        flight(payload=4 * 1024 * 1024)


@pytest.mark.parametrize("was_sent", [False, True])
def test_the_end_of_a_stream_tells_each_commit_whether_it_may_have_happened(was_sent: bool) -> None:
    commits = filled(1)
    if was_sent:
        sent(commits)
    (lost,) = commits.pop_all()
    shared = DeadlineExceeded("late")
    own = error_for(lost, shared)
    assert isinstance(own, DeadlineExceeded)
    assert (own.request_id, own.may_have_happened, str(own)) == ("0", was_sent, "late")
    assert (shared.request_id, shared.may_have_happened) == ("", False)
    closed = RuntimeError("closed")
    assert error_for(lost, closed) is closed


def test_a_refusal_is_the_error_of_the_single_call_and_did_not_happen() -> None:
    failure = commits_pb.CommitFailure(code=5, reason="SESSION_NOT_FOUND", message="Nothing there.")
    error = outcome_of(flight("r-1"), commits_pb.CommitOutcome(failure=failure))
    assert isinstance(error, NotFound)
    assert (error.request_id, error.may_have_happened) == ("r-1", False)
    response = commits_pb.CommitResponse(session=pb.Session(id="s"))
    done = outcome_of(flight(), commits_pb.CommitOutcome(response=response))
    assert not isinstance(done, SessionsError)
    assert done == response
