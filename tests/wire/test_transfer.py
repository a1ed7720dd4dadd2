"""Export and import on the wire: whole and unchanged, or not at all."""

from __future__ import annotations

import random
from collections.abc import Callable

import grpc
import pytest
from google.protobuf.message import DecodeError

from sessions_client import AsyncClient, InvalidArgument, SessionData
from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.server import Server
from tests.support.structs import struct
from tests.wire.stubs import Caller, message, refusal_of, refused

Records = list[pb.ExportRecord]


@pytest.fixture
def source(caller: Caller) -> str:
    session = caller.new_id(metadata=struct({"device": "web"}), config={"context_window": 7})
    caller.SetContext(session_id=session, context=struct({"task": "a", "n": 1.5}))
    caller.AddMessages(session_id=session, messages=[message(f"m{n}", id=f"id-{n}") for n in range(250)])
    return session


@pytest.fixture
def target(caller: Caller) -> str:
    session = caller.new_id()
    caller.AddMessage(session_id=session, message=message("before"))
    return session


def test_an_export_is_a_header_a_context_messages_and_a_footer(caller: Caller, source: str) -> None:
    records = caller.export(source)
    kinds = [record.WhichOneof("record") for record in records]
    assert kinds == ["header", "context", "messages", "messages", "messages", "footer"]
    footer = records[-1].footer
    assert (footer.message_count, footer.record_count, len(footer.sha256)) == (250, 5, 32)


def test_an_import_recreates_the_exported_session(caller: Caller, source: str) -> None:
    imported = caller.import_(f"{source}-copy", caller.export(source))
    original = caller.GetSession(session_id=source).session
    assert (imported.user_id, imported.metadata, imported.config) == (
        original.user_id,
        original.metadata,
        original.config,
    )
    assert imported.create_time == original.create_time
    kept = [(each.id, each.content, each.create_time) for each in caller.history(imported.id, limit=1000)]
    assert kept == [(each.id, each.content, each.create_time) for each in caller.history(source, limit=1000)]
    assert caller.context(imported.id).data == caller.context(source).data


def test_a_negative_zero_is_kept_and_moved(caller: Caller, target: str) -> None:
    odd = struct({"n": -0.0})
    caller.SetContext(session_id=target, context=odd)
    caller.AddMessage(session_id=target, message=message(data=odd, metadata=odd))
    caller.UpdateSession(session_id=target, session={"metadata": odd})
    copy = caller.import_(f"{target}-copy", caller.export(target)).id
    for session in (target, copy):
        added = caller.history(session)[-1]
        kept = (caller.context(session).data, added.data, added.metadata)
        assert [repr(values["n"]) for values in kept] == ["-0.0"] * 3


def test_an_import_can_be_repeated_safely(caller: Caller, source: str) -> None:
    records = caller.export(source)
    first, again = (caller.import_(f"{source}-copy", records, request_id="r-1") for _ in range(2))
    assert first == again
    assert len(caller.history(first.id, limit=1000)) == 250


def test_an_import_into_an_existing_session_replaces_it_or_fails(
    caller: Caller, source: str, target: str
) -> None:
    records = caller.export(source)
    refusal = refused(caller.import_, target, records, if_exists=pb.IF_EXISTS_FAIL)
    assert refusal.reason == "SESSION_ALREADY_EXISTS"
    assert [each.content for each in caller.history(target)] == ["before"]
    caller.import_(target, records)
    assert len(caller.history(target, limit=1000)) == 250


def changed_text(records: Records) -> Records:
    records[3].messages.messages[7].content = "altered"
    return records


def changed_footer(records: Records) -> Records:
    records[-1].footer.message_count -= 1
    return records


def future_version(records: Records) -> Records:
    records[0].header.version = 3
    return records


ALTERATIONS: dict[str, Callable[[Records], Records]] = {
    "nothing at all": lambda records: [],
    "without its footer": lambda records: records[:-1],
    "without its header": lambda records: records[1:],
    "without its context": lambda records: [records[0], *records[2:]],
    "without some messages": lambda records: [*records[:3], *records[4:]],
    "messages in another order": lambda records: [*records[:2], records[3], records[2], *records[4:]],
    "messages twice": lambda records: [*records[:3], records[2], *records[3:]],
    "a second footer": lambda records: [*records, records[-1]],
    "something after the footer": lambda records: [*records, records[2]],
    "another text": changed_text,
    "another footer": changed_footer,
    "a version from the future": future_version,
}


@pytest.mark.parametrize("alteration", ALTERATIONS.values(), ids=ALTERATIONS)
def test_an_altered_import_changes_nothing(
    caller: Caller, source: str, target: str, alteration: Callable[[Records], Records]
) -> None:
    before = caller.GetSession(session_id=target)
    refusal = refused(caller.import_, target, alteration(caller.export(source)))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert refusal.fields
    assert caller.GetSession(session_id=target) == before
    assert [each.content for each in caller.history(target)] == ["before"]


def test_no_flipped_bit_goes_unnoticed(caller: Caller, source: str, target: str) -> None:
    records, chance = caller.export(source), random.Random(20_240_101)
    for _ in range(40):
        place = chance.randrange(len(records))
        raw = bytearray(records[place].SerializeToString())
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        try:
            altered = pb.ExportRecord.FromString(bytes(raw))
        except DecodeError:
            continue
        refusal = refused(caller.import_, target, [*records[:place], altered, *records[place + 1 :]])
        assert refusal.code in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
    assert [each.content for each in caller.history(target)] == ["before"]


def test_a_stream_that_names_two_sessions_is_refused(caller: Caller, source: str, target: str) -> None:
    records = caller.export(source)
    requests = [pb.ImportSessionRequest(session_id=target, record=records[0])]
    requests += [pb.ImportSessionRequest(session_id="another", record=record) for record in records[1:]]
    assert refused(caller.ImportSession, iter(requests)).fields == ["session_id"]


async def test_a_refusal_reaches_a_client_that_is_still_sending(
    caller: Caller, server: Server, source: str
) -> None:
    header, *others = caller.export(source)
    large = pb.ExportRecord(messages=pb.ExportMessages(messages=[message("x" * 100_000)] * 10))
    data = SessionData([header, header, *[large] * 4, *others])
    async with AsyncClient(server.address) as client:
        # About one time in twenty, grpc.aio loses the status to the write that fails with it.
        for _ in range(100):
            with pytest.raises(InvalidArgument, match="header"):
                await client.sessions.import_(f"{source}-refused", session_data=data)


def test_a_caller_that_leaves_midway_has_changed_nothing(caller: Caller, source: str, target: str) -> None:
    records = caller.export(source)

    def cut() -> object:
        yield pb.ImportSessionRequest(session_id=target, record=records[0])
        raise ConnectionError

    with pytest.raises(grpc.RpcError) as caught:
        caller.ImportSession(cut())
    assert refusal_of(caught.value).code in ("CANCELLED", "UNKNOWN", "INVALID_ARGUMENT")
    assert [each.content for each in caller.history(target)] == ["before"]
