"""Commits, reads and streams of commits on the wire: limits, refusals, and the order of outcomes."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from sessions_proto.v1 import commits_pb2 as commits_pb, records_pb2 as records_pb, sessions_pb2 as pb
from tests.support.server import Server
from tests.wire.deployments import READER
from tests.wire.stubs import Caller, message, refused


def append(content: str = "Hello") -> commits_pb.Operation:
    return commits_pb.Operation(append=message(content))


def record_name(**scope: Any) -> records_pb.RecordName:
    return records_pb.RecordName(scope=records_pb.Scope(**scope), collection=["c"], key="k")


def put(**scope: Any) -> commits_pb.Operation:
    return commits_pb.Operation(
        put=commits_pb.RecordPut(record=records_pb.Record(name=record_name(**scope), value=b"v"))
    )


READ = commits_pb.ReadOperation(session=pb.GetSessionRequest(session_id="s"))

REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "101 conditions": ({"conditions": [commits_pb.Condition(history_head=0)] * 101}, ["conditions"]),
    "4,001 operations": ({"operations": [append()] * 4001}, ["operations"]),
    "101 reads": ({"reads": [READ] * 101}, ["reads"]),
    "an operation of no kind": ({"operations": [append(), commits_pb.Operation()]}, ["operations[1]"]),
    "a condition of no kind": ({"conditions": [commits_pb.Condition()]}, ["conditions[0]"]),
    "a read of no kind": ({"reads": [commits_pb.ReadOperation()]}, ["reads[0]"]),
    "a bad message": (
        {"operations": [commits_pb.Operation(append=pb.Message())]},
        ["operations[0].append.role"],
    ),
    "a truncation of nothing": (
        {"operations": [commits_pb.Operation(truncate=commits_pb.Truncate())]},
        ["operations[0].truncate"],
    ),
    "a negative count": (
        {"operations": [commits_pb.Operation(truncate=commits_pb.Truncate(newest=-1))]},
        ["operations[0].truncate.newest"],
    ),
    "no move": (
        {"operations": [commits_pb.Operation(move=commits_pb.MOVE_UNSPECIFIED)]},
        ["operations[0].move"],
    ),
    "operations after the deletion": (
        {"operations": [commits_pb.Operation(delete_session=True), append()]},
        ["operations"],
    ),
    "a record of another session": (
        {"operations": [put(session_id="other")]},
        ["operations[0].put.record.name.scope.session_id"],
    ),
    "a record of every session": (
        {"operations": [put(all_sessions=True)]},
        ["operations[0].put.record.name.scope"],
    ),
    "no session": ({"session_id": "", "operations": [append()]}, ["session_id"]),
    "a session record without a session": (
        {"session_id": "", "operations": [put(session_id="")]},
        ["operations[0].put.record.name.scope.session_id"],
    ),
    "REPLACE for a new session": (
        {"create": commits_pb.NewSession(user_id="u", if_exists=pb.IF_EXISTS_REPLACE)},
        ["create.if_exists"],
    ),
}


@pytest.mark.parametrize(("fields", "at_fault"), REFUSED.values(), ids=REFUSED)
def test_a_commit_is_refused_for(caller: Caller, fields: dict[str, Any], at_fault: list[str]) -> None:
    refusal = refused(caller.Commit, **{"session_id": "s", **fields})
    assert (refusal.code, refusal.reason, refusal.fields) == (
        "INVALID_ARGUMENT",
        "INVALID_REQUEST",
        at_fault,
    )


def test_a_commit_of_the_maximum_size_works(caller: Caller) -> None:
    session = caller.new_id()
    response = caller.Commit(session_id=session, operations=[append(str(n)) for n in range(4000)])
    sequences = [result.appended.sequence for result in response.results]
    assert sequences == list(range(2, 4002))
    assert response.session.message_count == 4000


@pytest.mark.parametrize("count", [0, 101])
def test_a_read_has_1_to_100_reads(caller: Caller, count: int) -> None:
    assert refused(caller.Read, reads=[READ] * count).fields == ["reads"]


def test_a_read_only_credential_may_neither_commit_nor_restart_a_ttl(guarded: Server) -> None:
    with Caller(guarded, READER) as reader:
        assert reader.Read(reads=[READ]).results[0].WhichOneof("result") is None
        assert refused(reader.Commit, session_id="s").code == "PERMISSION_DENIED"
        refresh = commits_pb.ReadOperation(record=record_name(tenant=True), refresh_ttl=True)
        assert refused(reader.Read, reads=[refresh]).code == "PERMISSION_DENIED"


class Stream:
    """A stream of commits fed by a test. Each commit is sent in its own request."""

    def __init__(self, caller: Caller) -> None:
        self._requests: queue.SimpleQueue[commits_pb.StreamCommitsRequest | None] = queue.SimpleQueue()
        self._responses = caller.StreamCommits(self._sent())

    def send(self, *commits: tuple[int, commits_pb.CommitRequest]) -> None:
        tagged = [commits_pb.TaggedCommit(tag=tag, commit=commit) for tag, commit in commits]
        self._requests.put(commits_pb.StreamCommitsRequest(commits=tagged))

    def finish(self) -> None:
        self._requests.put(None)

    def outcomes(self) -> Iterator[commits_pb.CommitOutcome]:
        for response in self._responses:
            yield from response.outcomes

    def _sent(self) -> Iterator[commits_pb.StreamCommitsRequest]:
        while (request := self._requests.get()) is not None:
            yield request


def commits_to(session: str, texts: Iterable[str]) -> list[commits_pb.CommitRequest]:
    return [
        commits_pb.CommitRequest(session_id=session, operations=[append(text)], request_id=f"{session}{text}")
        for text in texts
    ]


def test_outcomes_have_the_tags_of_their_commits_and_a_failure_ends_nothing(caller: Caller) -> None:
    session = caller.new_id()
    good, bad = (
        commits_to(session, "ab"),
        commits_pb.CommitRequest(session_id="missing", operations=[append()]),
    )
    malformed = commits_pb.CommitRequest(session_id="not an id", operations=[append()])
    stream = Stream(caller)
    stream.send((7, good[0]), (8, bad), (9, malformed), (6, commits_pb.CommitRequest()))
    stream.send((7, good[1]))
    stream.finish()
    outcomes = list(stream.outcomes())
    assert sorted(outcome.tag for outcome in outcomes) == [6, 7, 7, 8, 9]
    assert {outcome.WhichOneof("outcome") for outcome in outcomes if outcome.tag < 8} == {"response"}
    failures = {outcome.tag: outcome.failure for outcome in outcomes if outcome.HasField("failure")}
    assert (failures[8].code, failures[8].reason) == (5, "SESSION_NOT_FOUND")
    assert (failures[9].code, failures[9].reason) == (3, "INVALID_REQUEST")
    assert all(failure.message for failure in failures.values())
    assert [each.content for each in caller.history(session)] == ["a", "b"]


def test_commits_of_one_session_are_applied_and_answered_in_the_order_sent(
    caller: Caller,
) -> None:
    sessions = [caller.new_id() for _ in range(4)]
    texts = [str(number) for number in range(50)]
    waiting = [commits_to(session, texts) for session in sessions]
    stream = Stream(caller)
    for number, turn in enumerate(zip(*waiting, strict=True)):
        stream.send(*((number * 4 + place, commit) for place, commit in enumerate(turn)))
    stream.finish()
    tags = [outcome.tag for outcome in stream.outcomes()]
    for place, session in enumerate(sessions):
        assert [tag for tag in tags if tag % 4 == place] == [number * 4 + place for number in range(50)]
        assert [each.content for each in caller.history(session, limit=50)] == texts


def test_a_commit_repeated_with_its_request_id_happens_once(caller: Caller) -> None:
    session = caller.new_id()
    commits = commits_to(session, "abc")
    for _ in range(2):
        stream = Stream(caller)
        stream.send(*enumerate(commits))
        stream.finish()
        sequences = [outcome.response.results[0].appended.sequence for outcome in stream.outcomes()]
        assert sequences == [2, 3, 4]
    assert caller.Commit(commits[0]).results[0].appended.sequence == 2


@pytest.mark.parametrize("count", [0, 1001])
def test_a_request_of_a_stream_has_1_to_1000_commits(caller: Caller, count: int) -> None:
    commit = commits_pb.TaggedCommit(commit=commits_pb.CommitRequest(session_id="s"))
    request = commits_pb.StreamCommitsRequest(commits=[commit] * count)
    assert refused(caller.StreamCommits, iter([request])).fields == ["commits"]
