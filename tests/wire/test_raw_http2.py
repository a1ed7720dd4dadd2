"""What only a raw HTTP/2 client can send: it gets its status, and no other client is affected."""

from __future__ import annotations

import gzip
import signal
import zlib
from pathlib import Path

import pytest

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.http2 import Http2, framed
from tests.support.processes import memory_bytes
from tests.support.server import Server, start_server
from tests.wire.stubs import SERVICE, Caller

MIB = 1024 * 1024
INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 3, 8, 12
GET = f"{SERVICE}GetSession".encode()
GZIP = [(b"grpc-encoding", b"gzip")]


def bomb(size: int) -> bytes:
    """This many zeros, compressed, without having them in memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()


def get(session_id: str, *, unknown: bytes = b"") -> bytes:
    return framed(pb.GetSessionRequest(session_id=session_id).SerializeToString() + unknown)


@pytest.fixture
def session(caller: Caller) -> str:
    return caller.new_id()


def test_a_well_formed_call_is_answered(server: Server, session: str) -> None:
    with Http2(server.address) as raw:
        assert raw.call(GET, get(session)).code == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(framed(b"\xff\xff\xff"), INVALID_ARGUMENT, id="no protobuf"),
        pytest.param(framed(b"\x0a\x02\xc3\x28"), INVALID_ARGUMENT, id="text that is not UTF-8"),
        pytest.param(framed(b"\x7b" * 10_000), INVALID_ARGUMENT, id="10,000 nested groups"),
        pytest.param(framed(bytes(5 * MIB)), RESOURCE_EXHAUSTED, id="5 MiB"),
        pytest.param(
            framed(bytes(1000), length=2**32 - 1), RESOURCE_EXHAUSTED, id="a declared length of 4 GiB"
        ),
    ],
)
def test_a_bad_body_gets_its_status(server: Server, session: str, body: bytes, code: int) -> None:
    with Http2(server.address) as raw:
        assert raw.call(GET, body).code == code
        assert raw.call(GET, get(session)).code == 0


@pytest.mark.parametrize("path", [b"/sessions.v1.SessionService/Nothing", b"/nothing.Service/At", b"/", b"*"])
def test_an_unknown_path_is_unimplemented(server: Server, path: bytes) -> None:
    with Http2(server.address) as raw:
        assert raw.call(path, framed(b"")).code == UNIMPLEMENTED


def test_a_compressed_request_is_read(server: Server, session: str) -> None:
    message = pb.GetSessionRequest(session_id=session).SerializeToString()
    with Http2(server.address) as raw:
        assert raw.call(GET, framed(gzip.compress(message), compressed=True), headers=GZIP).code == 0


def test_a_decompression_bomb_is_refused(server: Server, caller: Caller) -> None:
    packed = bomb(1024 * MIB)
    before = memory_bytes(server.pid)
    with Http2(server.address) as raw:
        answer = raw.call(GET, framed(packed, compressed=True), headers=GZIP)
    assert answer.code == RESOURCE_EXHAUSTED
    assert memory_bytes(server.pid) - before < 64 * MIB
    caller.session()


def test_unknown_fields_are_not_kept(server: Server, caller: Caller) -> None:
    request = (
        pb.CreateSessionRequest(user_id="u").SerializeToString() + b"\xa2\x3f" + b"\x80\x80\x40" + b"Z" * MIB
    )
    answer = pb.CreateSessionResponse.FromString(caller.raw("CreateSession", request))
    assert answer.ByteSize() < 1000
    assert caller.GetSession(session_id=answer.session.id).ByteSize() < 1000


def test_silent_calls_delay_no_other(server: Server, caller: Caller) -> None:
    with Http2(server.address) as raw:
        for _ in range(300):
            raw.open(GET)
        session = caller.new_id()
        assert caller.GetSession(session_id=session).session.id == session


def test_many_calls_at_once_are_all_answered(server: Server, session: str) -> None:
    body = get(session)
    with Http2(server.address) as raw:
        with raw.at_once():
            streams = [raw.open(GET) for _ in range(4000)]
            for stream in streams:
                raw.send(stream, body)
        assert {raw.answer(stream).code for stream in streams} == {0}


def test_opened_and_reset_streams_leave_nothing_behind(server: Server, caller: Caller, session: str) -> None:
    subscribe = f"{SERVICE}Subscribe".encode()
    body = framed(pb.SubscribeRequest(session_id=session).SerializeToString())
    before = memory_bytes(server.pid)
    for _ in range(10):
        with Http2(server.address) as raw:
            for _ in range(500):
                if raw.is_broken:
                    break
                stream = raw.open(subscribe)
                raw.send(stream, body)
                raw.reset(stream)
    caller.StartSession(session_id=session)
    assert [event.sequence for event in caller.log(session)] == [1, 2]
    assert memory_bytes(server.pid) - before < 64 * MIB


def test_a_flood_of_pings_affects_only_its_own_connection(
    server: Server, caller: Caller, session: str
) -> None:
    before = memory_bytes(server.pid)
    with Http2(server.address) as raw:
        for _ in range(5_000):
            raw.ping()
    assert caller.GetSession(session_id=session).session.id == session
    assert memory_bytes(server.pid) - before < 64 * MIB


def test_a_failed_grpc_loop_does_not_end_the_service(tmp_path: Path) -> None:
    with (
        start_server(tmp_path, program=["-m", "tests.support.loop_end"]) as server,
        Caller(server) as caller,
    ):
        session = caller.new_id()
        stream = caller.Subscribe(session_id=session, after_sequence=0)
        next(stream)
        pid = server.pid
        for _ in range(3):
            server.send(signal.SIGUSR1)
            until_broken(server, session)
            until_served(server, session)
        assert server.pid == pid
        assert caller.GetSession(session_id=session).session.id == session


def until_broken(server: Server, session: str) -> None:
    """Calls repeatedly on new connections until one is cut off."""
    while True:
        with Http2(server.address) as raw:
            if raw.call(GET, get(session)).code != 0:
                return


def until_served(server: Server, session: str) -> None:
    """Calls repeatedly on new connections until one is answered."""
    while True:
        try:
            with Http2(server.address) as raw:
                if raw.call(GET, get(session)).code == 0:
                    return
        except (ConnectionRefusedError, ConnectionResetError):  # between the old listener and the new one
            continue
