"""A thousand generated sessions: exports come back whole and equal; altered ones are refused."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import DecodeError

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.security.keyring import create_keyring
from tests.faults.durability.load import stub_of
from tests.faults.expiry.probes import each
from tests.faults.transfer.generated import (
    IDLE_SECONDS,
    Records,
    Stub,
    content,
    export,
    import_,
    make,
)
from tests.support.clock import SharedClock
from tests.support.figures import show
from tests.support.server import Server, start_server

SESSIONS = 1_000
FUZZED = 40
FLIPS = 12
"""Per record of a fuzzed session."""

TARGETS = 10


@pytest.fixture
def clock(tmp_path: Path) -> SharedClock:
    return SharedClock(tmp_path / "clock")


@pytest.fixture
def server(tmp_path: Path, clock: SharedClock) -> Iterator[Server]:
    create_keyring(tmp_path / "keyring", now=datetime.now(UTC))
    env = {
        "SESSIONS_KEYRING": str(tmp_path / "keyring"),
        "SESSIONS_MAX_TRANSFERS": "1000",
        "SESSIONS_MAX_TRANSFERS_PER_CALLER": "1000",
    }
    with start_server(tmp_path, env=env, clock=clock) as server:
        yield server


async def test_a_thousand_generated_sessions_survive_export_and_import(
    server: Server, clock: SharedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    states: Counter[str] = Counter()
    messages = 0

    async def there_and_back(number: int) -> None:
        nonlocal messages
        records = await export(stub, f"s{number}")
        imported = await import_(stub, f"s{number}-copy", records)
        again = await export(stub, f"s{number}-copy")
        assert content(again) == content(records)
        assert again[-1].footer.message_count == records[-1].footer.message_count
        assert imported == again[0].header.session
        states[pb.SessionState.Name(imported.state).removeprefix("SESSION_STATE_")] += 1
        messages += imported.message_count

    async with stub_of(server) as stub:
        await each(range(SESSIONS), lambda number: make(stub, random.Random(number), f"s{number}"))
        clock.turn(seconds=IDLE_SECONDS)
        await each(range(SESSIONS), there_and_back)
    show(
        capsys,
        f"{states.total()} sessions ({', '.join(f'{count} {name}' for name, count in sorted(states.items()))}) with "
        f"{messages} messages: exported, imported, exported again, all equal",
    )
    assert len(states) == 6
    assert messages > 10 * SESSIONS


def altered(records: Records, others: Records, rng: random.Random) -> Iterator[tuple[str, Records]]:
    """Streams that were altered, and how."""
    header, *_, footer = records
    for place in range(len(records)):
        before, record, after = records[:place], records[place], records[place + 1 :]
        yield "truncated", before
        yield "left out", [*before, *after]
        yield "doubled", [*before, record, record, *after]
        for target in range(len(before)):
            yield "reordered", [*before[:target], record, *before[target:], *after]
        if place < len(others) and others[place] != record:
            yield "mixed with another", [*before, others[place], *after]
        for flipped in flips(record, rng):
            yield "a flipped bit", [*before, flipped, *after]
    for change in (
        {"message_count": footer.footer.message_count + 1},
        {"record_count": footer.footer.record_count + 1},
        {"sha256": bytes(32)},
        {"sha256": footer.footer.sha256[:-1]},
    ):
        other = pb.ExportRecord.FromString(footer.SerializeToString())
        other.footer.MergeFrom(pb.ExportFooter(**change))
        yield "another footer", [*records[:-1], other]
    yield "nothing", []
    yield "more after the end", [*records, header]


def flips(record: pb.ExportRecord, rng: random.Random) -> Iterator[pb.ExportRecord]:
    """The record with each of several bits flipped, where the bytes still are a valid, different record."""
    raw = record.SerializeToString()
    for _ in range(FLIPS):
        changed = bytearray(raw)
        changed[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        try:
            flipped = pb.ExportRecord.FromString(bytes(changed))
        except DecodeError:
            continue
        if flipped != record:
            yield flipped


async def refusal(stub: Stub, session_id: str, records: Records) -> str:
    while True:
        try:
            await import_(stub, session_id, records)
        except grpc.aio.AioRpcError as error:
            # What grpc.aio reports when a failed write replaces the status of the call:
            # https://github.com/grpc/grpc/issues/36066
            if error.details() != "Internal error from Core":
                return error.code().name
        else:
            return "OK"


async def test_no_part_of_an_altered_stream_is_imported(
    server: Server, clock: SharedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(42)
    kinds: Counter[str] = Counter()
    wrong: list[tuple[str, str]] = []

    async def attempt(number: int, stream: tuple[str, Records]) -> None:
        kind, records = stream
        code = await refusal(stub, f"target{number % TARGETS}" if number % 2 else "fresh", records)
        kinds[kind] += 1
        if code != "INVALID_ARGUMENT":
            wrong.append((kind, code))

    async with stub_of(server) as stub:
        for number in range(FUZZED):
            await make(stub, random.Random(number), f"s{number}")
        exports = [await export(stub, f"s{number}") for number in range(FUZZED)]
        for number in range(TARGETS):
            await import_(stub, f"target{number}", exports[number])
        before = [await export(stub, f"target{number}") for number in range(TARGETS)]
        pairs = zip(exports, [*exports[1:], exports[0]], strict=True)
        streams = enumerate(chain.from_iterable(altered(records, others, rng) for records, others in pairs))
        await each(streams, lambda numbered: attempt(*numbered))
        after = [await export(stub, f"target{number}") for number in range(TARGETS)]
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetSession(pb.GetSessionRequest(session_id="fresh"))
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    show(
        capsys, f"{kinds.total()} altered streams ({listed}): {len(wrong)} came in or were refused otherwise"
    )
    assert wrong == []
    assert after == before, "the targets are unchanged"
