"""Streams with a valid digest whose content no server wrote: everything stored can still be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from sessions_client import Client
from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import SECOND, JsonObject, Micros
from sessions_server.domain.transfer import Checker, Header, MessagesRecord
from sessions_server.rpc.convert.exports import put_record, read_record
from tests.support.server import Server, start_server
from tests.wire.stubs import Caller, message, refused

YEAR = 365 * 24 * 3600
LAST_SECOND = 253_402_300_799
"""Of the year 9999, the maximum of a Timestamp."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def caller(server: Server) -> Iterator[Caller]:
    with Caller(server) as caller:
        yield caller


def created_at_the_end_of_time(header: Header, messages: MessagesRecord) -> tuple[Header, MessagesRecord]:
    session = header.session._replace(create_time=Micros(LAST_SECOND * SECOND))
    return replace(header, session=session), messages


def two_messages_with_one_id(header: Header, messages: MessagesRecord) -> tuple[Header, MessagesRecord]:
    first, second = messages.messages
    return header, MessagesRecord((first, second._replace(id=first.id)))


def too_much_metadata(header: Header, messages: MessagesRecord) -> tuple[Header, MessagesRecord]:
    metadata: JsonObject = {f"k{number}": 1 for number in range(257)}
    return replace(header, session=header.session._replace(metadata=metadata)), messages


Forge = Callable[[Header, MessagesRecord], tuple[Header, MessagesRecord]]


def forged(records: list[pb.ExportRecord], forge: Forge) -> list[pb.ExportRecord]:
    """A stream of something else, with a matching footer."""
    header, context, messages, _ = (read_record(each, tenant="default", limits=Limits()) for each in records)
    assert isinstance(header, Header)
    assert isinstance(messages, MessagesRecord)
    header, messages = forge(header, messages)
    checker = Checker()
    for record in (header, context, messages):
        checker.take(record)
    stream = [pb.ExportRecord() for _ in records]
    for target, record in zip(stream, (header, context, messages, checker.footer()), strict=True):
        put_record(target, record)
    return stream


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (created_at_the_end_of_time, "INVALID_ARGUMENT"),
        (two_messages_with_one_id, "INVALID_ARGUMENT"),
        (too_much_metadata, "RESOURCE_EXHAUSTED"),
    ],
)
def test_a_forged_session_is_refused_and_lists_still_work(
    caller: Caller, server: Server, forge: Forge, code: str
) -> None:
    session = caller.session(storage_options={"ttl": {"seconds": 10 * YEAR}})
    caller.AddMessages(session_id=session.id, messages=[message("a"), message("b")])
    stream = forged(caller.export(session.id), forge)
    assert refused(caller.import_, f"forged-{session.id}", stream).code == code
    assert refused(caller.GetSession, session_id=f"forged-{session.id}").code == "NOT_FOUND"
    with Client(server.address) as client:
        assert session.id in [found.id for found in client.sessions.list()]


def encrypted(header: Header, messages: MessagesRecord) -> tuple[Header, MessagesRecord]:
    session = header.session
    storage = session.storage._replace(encryption=True)
    return replace(header, session=session._replace(storage=storage)), messages


def test_importing_an_encrypted_session_needs_a_keyring_only_to_create_one(caller: Caller) -> None:
    session = caller.new_id()
    caller.AddMessages(session_id=session, messages=[message("a"), message("b")])
    stream = forged(caller.export(session), encrypted)
    assert refused(caller.import_, f"new-{session}", stream).reason == "ENCRYPTION_NOT_CONFIGURED"
    assert refused(caller.import_, session, stream, if_exists=pb.IF_EXISTS_FAIL).code == "ALREADY_EXISTS"
    assert not caller.import_(session, stream).storage_options.encryption
    assert [each.content for each in caller.history(session)] == ["a", "b"]
