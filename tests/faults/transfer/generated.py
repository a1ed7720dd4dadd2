"""Sessions of every kind, generated from a seed, and what must be equal in two exports of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc
from tests.support.structs import struct

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Iterable

    from google.protobuf.struct_pb2 import Struct

Stub: TypeAlias = "pb_grpc.SessionServiceAsyncStub"
Records: TypeAlias = list[pb.ExportRecord]

Timeouts: TypeAlias = tuple[int | None, ...]
"""In seconds."""

LONG_TIMEOUTS: Timeouts = (None, 3_600)
TIMEOUTS: Timeouts = (*LONG_TIMEOUTS, 10)
IDLE_SECONDS = 60
"""After this long without a write some have expired."""

_TEXTS = ("", "a", "ü", "日本語", "🙂", "\0", '"', "\\", "line\nbreak", "x" * 700)
_NUMBERS = (0, -0.0, 1, -1, 0.1, -2.5e15, 1.7e-308, 2**53 - 1, -(2**53) + 1, 5e-324)


def text(rng: random.Random) -> str:
    return "".join(rng.choices(_TEXTS, k=rng.randint(1, 3)))


def value(rng: random.Random, depth: int = 3) -> Any:
    kind = rng.randrange(7 if depth else 5)
    if kind == 5:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == 6:
        return json_object(rng, depth - 1)
    return (None, rng.random() < 0.5, rng.choice(_NUMBERS), text(rng), rng.random())[kind]


def json_object(rng: random.Random, depth: int = 3) -> dict[str, Any]:
    return {text(rng): value(rng, depth) for _ in range(rng.randrange(4))}


def without_nul(found: Any) -> Any:
    """Metadata is searchable, so it cannot contain U+0000."""
    if isinstance(found, str):
        return found.replace("\0", "")
    if isinstance(found, list):
        return [without_nul(item) for item in found]
    if isinstance(found, dict):
        return {without_nul(key): without_nul(item) for key, item in found.items()}
    return found


def message(rng: random.Random, number: int) -> pb.Message:
    made = pb.Message(role=rng.choice(["user", "assistant", "tool"]), content=text(rng) or ".")
    if rng.random() < 0.5:
        made.id = f"m-{number}-{rng.getrandbits(32):08x}"
    if rng.random() < 0.3:
        made.data.update(json_object(rng))
    if rng.random() < 0.3:
        made.metadata.update(json_object(rng))
    if rng.random() < 0.3:
        made.name, made.tool_call_id = text(rng)[:200], text(rng)[:200]
    if rng.random() < 0.3:
        made.timestamp.CopyFrom(Timestamp(seconds=rng.randint(-(10**9), 10**9), nanos=rng.randrange(10**9)))
    return made


def creation(rng: random.Random, session_id: str, timeouts: Timeouts) -> pb.CreateSessionRequest:
    request = pb.CreateSessionRequest(session_id=session_id, user_id=f"u{rng.randrange(50)}")
    request.metadata.update(without_nul(json_object(rng)))
    config, storage = request.config, request.storage_options
    if (timeout := rng.choice(timeouts)) is not None:
        config.timeout.seconds = timeout
    config.max_messages = rng.choice([0, 0, 5, 1_000])
    config.context_window = rng.choice([0, 3, 50])
    storage.encryption = rng.random() < 0.3
    storage.persistence = rng.choice([pb.PERSISTENCE_PERMANENT, pb.PERSISTENCE_TEMPORARY])
    if rng.random() < 0.5:
        storage.ttl.seconds = rng.randint(3_600, 10**7)
    if storage.persistence == pb.PERSISTENCE_PERMANENT:
        storage.expiry_action = rng.choice(pb.ExpiryAction.values()[1:])
    return request


async def make(stub: Stub, rng: random.Random, session_id: str, timeouts: Timeouts = TIMEOUTS) -> None:
    """A session with a past: some messages were truncated or cleared, and it may have been started and ended."""
    request = creation(rng, session_id, timeouts)
    await stub.CreateSession(request)
    for _ in range(rng.randrange(3)):
        context = struct(json_object(rng))
        await stub.SetContext(pb.SetContextRequest(session_id=session_id, context=context))
    for turn in range(rng.randrange(4)):
        batch = [
            message(rng, number)
            for number in range(rng.randint(1, 12 if turn else rng.choice((20, 20, 20, 150))))
        ]
        await stub.AddMessages(pb.AddMessagesRequest(session_id=session_id, messages=batch))
        if rng.random() < 0.1:
            await stub.ClearHistory(pb.ClearHistoryRequest(session_id=session_id))
    temporary = request.storage_options.persistence == pb.PERSISTENCE_TEMPORARY
    lives: list[list[str]] = [[], ["Start"], ["Start", "Pause"], ["Start", "Pause", "Resume"]]
    lives += [] if temporary else [["Start", "End"], ["Archive"], ["Start", "End", "Archive"]]
    for verb in rng.choice(lives):
        move: Any = getattr(stub, f"{verb}Session")
        await move(getattr(pb, f"{verb}SessionRequest")(session_id=session_id))


async def export(stub: Stub, session_id: str) -> Records:
    responses = stub.ExportSession(pb.ExportSessionRequest(session_id=session_id))
    return [response.record async for response in responses]


async def import_(stub: Stub, session_id: str, records: Iterable[pb.ExportRecord]) -> pb.Session:
    async def requests() -> AsyncIterator[pb.ImportSessionRequest]:
        yield pb.ImportSessionRequest(session_id=session_id)
        for record in records:
            yield pb.ImportSessionRequest(record=record)

    return (await stub.ImportSession(requests())).session


def content(records: Records) -> tuple[pb.Session, Struct, list[pb.Message]]:
    """The part that two exports of a session share: everything except its id, positions and the export's time."""
    session = pb.Session()
    session.CopyFrom(records[0].header.session)
    session.ClearField("id")
    session.ClearField("etag")
    session.ClearField("last_sequence")
    messages = [each for record in records[2:-1] for each in record.messages.messages]
    assert [each.sequence for each in messages] == sorted({each.sequence for each in messages})
    kept = [pb.Message.FromString(each.SerializeToString()) for each in messages]
    for each in kept:
        each.ClearField("sequence")
    return session, records[1].context.data, kept
