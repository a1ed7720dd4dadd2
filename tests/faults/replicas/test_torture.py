"""Three replicas that are killed in turn while PostgreSQL crashes and wake-ups between them get lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessions_client import Event, EventType, Message
from tests.faults.replicas.storm import Outcome, Plan, Reader, Write, run
from tests.faults.replicas.verdict import Verdict, judge
from tests.support.figures import show
from tests.support.postgres import Postgres, running_postgres
from tests.support.replicas import running_replicas

REPLICAS = 3
PLAN = Plan(sessions=64, writers=32, kills=4, crashes=3)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres(durable=True) as postgres:
        yield postgres


@pytest.mark.parametrize("percent", [0, 50, 100])
def test_nothing_is_lost_repeated_or_missing(
    postgres: Postgres, percent: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = postgres.url(asyncio.run(postgres.fresh_database()))
    program = ["-m", "tests.faults.replicas.lossy_server", str(percent)]
    with running_replicas(tmp_path, count=REPLICAS, database_url=url, program=program) as servers:
        outcome = asyncio.run(run(servers, postgres, PLAN))
    verdict = judge(outcome)
    readers = Counter(reader.replica for reader in outcome.readers)
    received = sum(len(reader.received) for reader in outcome.readers)
    show(
        capsys,
        f"{percent} % of the wake-ups lost, {outcome.kills} times kill -9, {outcome.crashes} crashes of PostgreSQL: "
        f"{len(outcome.acknowledged)} acknowledged writes, lost {verdict.lost}, duplicates {verdict.duplicates}, "
        f"holes {verdict.holes}; {len(outcome.readers)} subscribers, {received} deliveries, missing "
        f"{verdict.missing}, repeated or out of order {verdict.repeated}",
    )
    assert (outcome.kills, outcome.crashes) == (PLAN.kills, PLAN.crashes)
    assert readers == dict.fromkeys(range(REPLICAS), PLAN.sessions)
    assert verdict == Verdict()


def message(sequence: int, content: str) -> Event:
    data = Message(id=content, sequence=sequence, role="user", content=content)
    return Event(
        session_id="s",
        sequence=sequence,
        type=EventType.MESSAGE,
        time=None,
        request_id="",
        erased=False,
        data=data,
    )


A, B, C = message(1, "a"), message(2, "b"), message(3, "c")


@pytest.mark.parametrize(
    ("log", "received", "expected"),
    [
        ([A, B, C], [A, B, C], Verdict()),
        ([A, B], [A, B], Verdict(lost=1)),
        ([A, B, message(3, "x")], [A, B, message(3, "x")], Verdict(lost=1)),
        ([A, B, C, message(4, "a")], [A, B, C, message(4, "a")], Verdict(duplicates=2)),
        ([A, B, C], [A, C], Verdict(missing=1)),
        ([A, B, C], [A, B, message(3, "x")], Verdict(missing=1)),
        ([A, B, C], [A, B, B, C], Verdict(repeated=1)),
        ([A, B, C], [B, A, C], Verdict(repeated=1)),
    ],
    ids=["no fault", "lost", "altered", "doubled", "missed", "other than the log", "twice", "out of order"],
)
def test_the_verdict_detects_each_fault(log: list[Event], received: list[Event], expected: Verdict) -> None:
    acknowledged = [Write("s", at, content) for at, content in enumerate("abc", start=1)]
    reader = Reader("s", replica=0, received=received)
    assert judge(Outcome(acknowledged, [reader], {"s": log}, {"s": 0})) == expected


def test_the_verdict_detects_gaps_and_wrong_counters() -> None:
    outcome = Outcome([Write("s", 1, "a"), Write("s", 3, "c")], [], {"s": [A, C]}, {"s": 2})
    assert judge(outcome) == Verdict(holes=1, duplicates=2)
