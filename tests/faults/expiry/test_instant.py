"""Ten thousand random sessions whose expiries no sweeper records: each expires at its exact microsecond."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pytest

from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc
from sessions_server.domain.models import Micros
from tests.faults.durability.load import stub_of
from tests.faults.expiry.population import GONE, VERBS, Specimen, random_spans, random_specimen
from tests.faults.expiry.probes import Inspector, each
from tests.support.clock import START, SharedClock
from tests.support.figures import show
from tests.support.server import Server, start_server

SESSIONS = 10_000
GROUPS = 100
"""The sessions of a group belong to one user, and something happens to them at the same time."""

SAMPLED = 0.25
"""The fraction of remaining sessions that are read one by one; all erased ones are read."""

SEED = 20_240_607


@pytest.fixture
def clock(tmp_path: Path) -> SharedClock:
    return SharedClock(tmp_path / "clock")


@pytest.fixture
def server(tmp_path: Path, clock: SharedClock) -> Iterator[Server]:
    with start_server(tmp_path, env={"SESSIONS_SWEEP_INTERVAL": "1000000"}, clock=clock) as server:
        yield server


def population(rng: random.Random, spans: list[int]) -> list[Specimen]:
    per_group = SESSIONS // GROUPS
    return [
        random_specimen(rng, number, f"u{group}", spans[group], spans[group + 1 :])
        for group in range(GROUPS)
        for number in range(group * per_group, (group + 1) * per_group)
    ]


async def create(it: Specimen, stub: pb_grpc.SessionServiceAsyncStub) -> None:
    await stub.CreateSession(it.creation())
    if it.content == "message":
        message = pb.Message(role="user", content=it.secret)
        await stub.AddMessage(pb.AddMessageRequest(session_id=it.id, message=message))
    if it.content == "context":
        context = pb.SetContextRequest(session_id=it.id)
        context.context.update({"secret": it.secret})
        await stub.SetContext(context)
    for verb in VERBS[it.state]:
        await getattr(stub, verb)(getattr(pb, f"{verb}Request")(session_id=it.id))


async def test_expired_sessions_are_neither_returned_nor_written(
    server: Server, clock: SharedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)
    spans = random_spans(rng, GROUPS)
    sessions = population(rng, spans)
    async with stub_of(server) as stub:
        await each(sessions, create, stub)
        inspector = Inspector(stub, rng)
        for (user_id, members), span in zip(groupby(sessions, attrgetter("user_id")), spans, strict=True):
            group = list(members)
            for instant in (span - 1, span):
                clock.turn_to(Micros(START + instant))
                await inspector.lists(user_id, group, instant)
                asked = [it for it in group if it.state_after(instant) == GONE or rng.random() < SAMPLED]
                await each(asked, inspector.read, instant)
            await each(group[::5], inspector.write, span)
    calls = ", ".join(f"{count} {name}" for name, count in sorted(inspector.calls.items()))
    show(
        capsys,
        f"{len(sessions)} random sessions around {GROUPS} instants: {inspector.calls.total()} calls ({calls}), "
        f"{inspector.with_content} with content before the end, {len(inspector.violations)} violations",
    )
    assert inspector.violations == []
    assert inspector.with_content > SESSIONS // 10
