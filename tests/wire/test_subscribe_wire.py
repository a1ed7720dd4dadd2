"""Where a subscription begins, what its checkpoints say, and everything that can end it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.inspected import Inspected
from tests.support.server import Server, start_server
from tests.wire.deployments import entry
from tests.wire.stubs import Caller, Refusal, message, refusal_of, refused, set_change

CHECKPOINT_SECONDS = 0.2


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with frequent checkpoints."""
    env = {"SESSIONS_CHECKPOINT_INTERVAL": str(CHECKPOINT_SECONDS)}
    with start_server(tmp_path_factory.mktemp("talkative"), env=env) as server:
        yield server


@pytest.fixture
def teller(talkative: Server) -> Iterator[Caller]:
    with Caller(talkative) as caller:
        yield caller


def add(caller: Caller, session: str, *, count: int) -> None:
    caller.AddMessages(session_id=session, messages=[message(str(number)) for number in range(count)])


def ended(stream: Any) -> Refusal:
    """How a stream ends that is refused after it has started."""
    return refused(lambda: stream)


@pytest.mark.parametrize(
    ("position", "begins", "first"),
    [
        pytest.param(None, 4, 5, id="none: from now"),
        pytest.param(0, 0, 1, id="0: from the first event"),
        pytest.param(2, 2, 3, id="in the log: from there"),
        pytest.param(4, 4, 5, id="the head: from now"),
    ],
)
def test_a_stream_starts_at_the_requested_position(
    caller: Caller, position: int | None, begins: int, first: int
) -> None:
    session = caller.new_id()
    add(caller, session, count=3)
    stream = caller.Subscribe(session_id=session, after_sequence=position)
    assert next(stream).checkpoint.sequence == begins
    caller.StartSession(session_id=session)
    assert [next(stream).event.sequence for _ in range(first, 6)] == list(range(first, 6))
    stream.cancel()


def test_a_position_after_the_head_is_refused_with_the_head(caller: Caller) -> None:
    session = caller.new_id()
    refusal = refused(caller.Subscribe, session_id=session, after_sequence=2)
    assert (refusal.code, refusal.reason) == ("OUT_OF_RANGE", "CURSOR_AHEAD")
    assert refusal.metadata == {"last_sequence": "1"}


def test_a_missing_or_deleted_session_cannot_be_subscribed_to(caller: Caller) -> None:
    deleted = caller.new_id()
    caller.DeleteSession(session_id=deleted)
    refusals = [refused(caller.Subscribe, session_id=session) for session in ("never-was", deleted)]
    assert refusals[0] == refusals[1]
    assert (refusals[0].code, refusals[0].reason) == ("NOT_FOUND", "SESSION_NOT_FOUND")


def test_resuming_after_the_deletion_shows_the_deletion(caller: Caller) -> None:
    session = caller.new_id()
    add(caller, session, count=3)
    caller.DeleteSession(session_id=session)
    first, last = caller.Subscribe(session_id=session, after_sequence=2)
    assert first.checkpoint.sequence == 2
    assert (last.event.type, last.event.sequence) == (pb.EVENT_TYPE_DELETED, 5)


def test_a_quiet_stream_sends_checkpoints_with_its_position(teller: Caller) -> None:
    session = teller.new_id()
    stream = teller.Subscribe(session_id=session, event_types=[pb.EVENT_TYPE_UPDATED])
    assert [next(stream).checkpoint.sequence for _ in range(3)] == [1, 1, 1]
    add(teller, session, count=4)
    assert checkpoint_beyond(stream, 1) == 5
    resumed = teller.Subscribe(session_id=session, after_sequence=5)
    assert next(resumed).checkpoint.sequence == 5
    for each in (stream, resumed):
        each.cancel()


def test_checkpoints_are_sent_even_if_every_event_is_filtered_out(teller: Caller) -> None:
    session, stop = teller.new_id(), threading.Event()

    def write() -> None:
        while not stop.is_set():
            teller.UpdateContext(session_id=session, changes=[set_change("a")])

    stream = teller.Subscribe(session_id=session, event_types=[pb.EVENT_TYPE_UPDATED])
    position = next(stream).checkpoint.sequence
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        try:
            for _ in range(3):
                position = checkpoint_beyond(stream, position)
        finally:
            stop.set()
    writing.result()
    stream.cancel()


def checkpoint_beyond(stream: Any, position: int) -> int:
    while (found := int(next(stream).checkpoint.sequence)) <= position:
        pass
    return found


def test_ending_a_temporary_session_ends_its_streams(caller: Caller) -> None:
    session = caller.new_id(storage_options={"persistence": pb.PERSISTENCE_TEMPORARY})
    stream = caller.Subscribe(session_id=session)
    caller.EndSession(session_id=session)
    assert list(stream)[-1].event.type == pb.EVENT_TYPE_DELETED
    assert stream.code() is grpc.StatusCode.OK


def test_a_draining_server_ends_its_streams_and_exits(tmp_path: Path) -> None:
    with start_server(tmp_path) as server, Caller(server) as caller:
        streams = [caller.Subscribe(session_id=caller.new_id()) for _ in range(20)]
        for stream in streams:
            next(stream)
        server.send(signal.SIGTERM)
        endings = {(refusal.code, refusal.reason) for refusal in map(ended, streams)}
        assert server.wait() == 0
    assert endings == {("UNAVAILABLE", "SHUTTING_DOWN")}


SHORT = entry("short", "acme", "write", "expires = 2023-11-14T22:14:20Z")
"""A minute after the start of the hand-set clock."""
LONG = entry("long", "acme", "write")


def write_tokens(folder: Path, *entries: str) -> Path:
    """Replaces the file atomically."""
    path, finished = folder / "tokens.toml", folder / "tokens.new"
    finished.write_text("".join(entries))
    finished.chmod(0o600)
    return finished.rename(path)


@pytest.fixture
def inspected(tmp_path: Path) -> Iterator[Inspected]:
    inspected = Inspected(
        tmp_path,
        env={
            "SESSIONS_TOKENS": str(write_tokens(tmp_path, SHORT, LONG)),
            "SESSIONS_MAX_STREAMS": "5",
            "SESSIONS_MAX_STREAMS_PER_CALLER": "3",
        },
    )
    with inspected.server:
        yield inspected


@pytest.fixture
def short(inspected: Inspected) -> Iterator[Caller]:
    with Caller(inspected.server, "short") as caller:
        yield caller


@pytest.fixture
def long(inspected: Inspected) -> Iterator[Caller]:
    with Caller(inspected.server, "long") as caller:
        yield caller


def test_a_stream_does_not_outlive_its_token(inspected: Inspected, short: Caller, long: Caller) -> None:
    session = long.new_id()
    ends, stays = short.Subscribe(session_id=session), long.Subscribe(session_id=session)
    next(ends)
    next(stays)
    inspected.clock.turn(seconds=61)
    refusal = ended(ends)
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    long.StartSession(session_id=session)
    assert next(stays).event.sequence == 2
    stays.cancel()


def test_a_stream_ends_when_its_token_is_revoked(long: Caller, tmp_path: Path) -> None:
    stream = long.Subscribe(session_id=long.new_id())
    next(stream)
    write_tokens(tmp_path, SHORT)
    refusal = ended(stream)
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")


def test_streams_are_limited_per_caller_and_in_total(short: Caller, long: Caller) -> None:
    session = long.new_id()
    streams = [long.Subscribe(session_id=session) for _ in range(3)]
    for stream in streams:
        next(stream)
    of_caller = refused(long.Subscribe, session_id=session)
    others = [short.Subscribe(session_id=session) for _ in range(2)]
    for stream in others:
        next(stream)
    in_all = refused(short.Subscribe, session_id=session)
    for refusal in (of_caller, in_all):
        assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
    assert of_caller.message != in_all.message
    assert long.StartSession(session_id=session).session.last_sequence == 2, "only streams are limited"
    for stream in (*streams, *others):
        stream.cancel()
    another(long, session).cancel()


def another(caller: Caller, session: str) -> Any:
    """A stream that replaces a cancelled one, once the server has noticed the cancellation."""
    while True:
        stream = caller.Subscribe(session_id=session)
        try:
            next(stream)
        except grpc.RpcError as error:
            if refusal_of(error).reason != "TOO_MANY_STREAMS":
                raise
            continue
        return stream
