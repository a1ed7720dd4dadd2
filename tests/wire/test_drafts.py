"""Drafts through the generated stubs: the responses to writers, and what subscribers receive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import pytest

from sessions_proto.v1 import drafts_pb2 as drafts_pb, sessions_pb2 as pb
from tests.support.clock import SharedClock
from tests.support.server import Server, start_server
from tests.support.structs import struct
from tests.wire.stubs import Caller, Refusal, message, refused

WRITING, DISCARDED, ABANDONED = (
    pb.DRAFT_STATE_WRITING,
    pb.DRAFT_STATE_DISCARDED,
    pb.DRAFT_STATE_ABANDONED,
)


class Watch:
    """A subscriber that is read in its own thread."""

    def __init__(self, caller: Caller, session_id: str, **fields: Any) -> None:
        request = {"include_drafts": True, "draft_interval": {"nanos": 1_000_000}, **fields}
        self._stream = caller.Subscribe(session_id=session_id, **request)
        self._responses: Queue[pb.SubscribeResponse | grpc.RpcError | None] = Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self.next().HasField("checkpoint")

    def _read(self) -> None:
        try:
            for response in self._stream:
                self._responses.put(response)
        except grpc.RpcError as error:
            self._responses.put(error)
        else:
            self._responses.put(None)

    def next(self) -> Any:
        return self._responses.get(timeout=30)

    def text(self, whole: str, *, part: str = "") -> pb.Draft:
        """Joins the pieces of a part until it is complete; returns the last piece."""
        seen = ""
        while True:
            piece: pb.Draft = self.next().draft
            if piece.part == part:
                seen = piece.text if not getattr(piece, "from") else seen + piece.text
            if seen == whole:
                return piece
            assert whole.startswith(seen)

    def close(self) -> None:
        self._stream.cancel()
        self._thread.join()


@contextmanager
def watching(caller: Caller, session_id: str, **fields: Any) -> Iterator[Watch]:
    watch = Watch(caller, session_id, **fields)
    try:
        yield watch
    finally:
        watch.close()


def write(caller: Caller, session_id: str, text: str, position: int = 0, **fields: Any) -> int:
    request = {"message_id": "m", "role": "assistant", **fields}
    response = caller.WriteDraft(session_id=session_id, text=text, position=position, **request)
    return int(response.position)


def test_subscribers_see_a_draft_grow_and_then_its_message(caller: Caller) -> None:
    session = caller.new_id()
    with watching(caller, session) as early:
        position = write(caller, session, "Hel", name="ada")
        first = early.next().draft
        assert (first.message_id, first.role, first.name, first.text) == ("m", "assistant", "ada", "Hel")
        assert (getattr(first, "from"), first.to, first.state) == (0, position, WRITING)
        with watching(caller, session) as late:
            assert late.next().draft.text == "Hel"
            end = write(caller, session, "lo", position)
            for watch in (early, late):
                piece = watch.next().draft
                assert (getattr(piece, "from"), piece.to, piece.text) == (position, end, "lo")
            stored = caller.CommitDraft(session_id=session, message_id="m").message
            for watch in (early, late):
                event = watch.next().event
                assert (event.message.id, event.message.content) == ("m", "Hello")
                assert event.sequence == stored.sequence
    assert [(each.role, each.name, each.content) for each in caller.history(session)] == [
        ("assistant", "ada", "Hello")
    ]


def test_a_subscriber_who_did_not_ask_sees_no_draft(caller: Caller) -> None:
    session = caller.new_id()
    with watching(caller, session, include_drafts=False) as watch:
        write(caller, session, "Hello")
        caller.CommitDraft(session_id=session, message_id="m")
        assert watch.next().event.message.content == "Hello"


def test_each_part_has_its_own_text_and_only_the_content_is_stored(caller: Caller) -> None:
    session = caller.new_id()
    with watching(caller, session) as watch:
        write(caller, session, "Hmm", part="reasoning")
        assert watch.text("Hmm", part="reasoning").part == "reasoning"
        write(caller, session, "Yes")
        watch.text("Yes")
    assert caller.CommitDraft(session_id=session, message_id="m").message.content == "Yes"


def test_a_repeated_piece_is_ignored_and_a_gap_writes_nothing(caller: Caller) -> None:
    session = caller.new_id()
    position = write(caller, session, "Hello")
    assert write(caller, session, "Hello") == position
    assert write(caller, session, "!", position + 1) == position
    end = write(caller, session, "Hello world")
    assert write(caller, session, "") == end
    assert caller.CommitDraft(session_id=session, message_id="m").message.content == "Hello world"


def test_the_writer_learns_the_number_of_viewers(caller: Caller) -> None:
    session = caller.new_id()
    response = caller.WriteDraft(session_id=session, message_id="m", role="r", text="a")
    assert response.watchers == 0
    with (
        watching(caller, session),
        watching(caller, session),
        watching(caller, session, include_drafts=False),
    ):
        response = caller.WriteDraft(session_id=session, message_id="m", position=1, text="b")
        assert response.watchers == 2


def test_a_discarded_draft_ends_for_its_subscribers_and_can_be_started_again(caller: Caller) -> None:
    session = caller.new_id()
    with watching(caller, session) as watch:
        write(caller, session, "Hello")
        watch.text("Hello")
        caller.WriteDraft(session_id=session, message_id="m", discard=True)
        ended = watch.next().draft
        assert (ended.message_id, ended.text, ended.state) == ("m", "", DISCARDED)
        write(caller, session, "Bye")
        watch.text("Bye")
    assert caller.history(session) == []


@pytest.mark.parametrize("verb", ["PauseSession", "EndSession", "ArchiveSession"])
def test_a_session_that_accepts_no_messages_ends_its_drafts(caller: Caller, verb: str) -> None:
    session = caller.new_id()
    caller.StartSession(session_id=session)
    with watching(caller, session, event_types=[pb.EVENT_TYPE_MESSAGE]) as watch:
        write(caller, session, "Hello")
        watch.text("Hello")
        getattr(caller, verb)(session_id=session)
        assert watch.next().draft.state == DISCARDED
    assert refused(write, caller, session, "more", 5).reason == "INVALID_STATE"


def test_a_deleted_session_ends_its_drafts_and_the_stream(caller: Caller) -> None:
    session = caller.new_id()
    with watching(caller, session) as watch:
        write(caller, session, "Hello")
        watch.text("Hello")
        caller.DeleteSession(session_id=session)
        last = [watch.next(), watch.next()]
        while last[-1] is not None:
            last.append(watch.next())
        assert last[-2].event.type == pb.EVENT_TYPE_DELETED
    assert refused(write, caller, session, "Hello").reason == "SESSION_NOT_FOUND"


def test_the_message_of_another_writer_ends_the_draft(caller: Caller) -> None:
    session = caller.new_id()
    with watching(caller, session) as watch:
        write(caller, session, "Hel")
        watch.text("Hel")
        caller.AddMessage(session_id=session, message={"id": "m", "role": "assistant", "content": "Hello"})
        assert watch.next().event.message.id == "m"
        assert refused(write, caller, session, "lo", 3).reason == "MESSAGE_ALREADY_EXISTS"
        write(caller, session, "Next", message_id="n")
        assert watch.next().draft.message_id == "n"


def test_a_commit_sets_the_other_fields_and_can_be_repeated(caller: Caller) -> None:
    session = caller.new_id()
    write(caller, session, "Hello", name="ada")
    fields = {
        "session_id": session,
        "message_id": "m",
        "message": message(role="", content="", metadata=struct({"source": "web"})),
        "request_id": "r-1",
    }
    stored = caller.CommitDraft(**fields).message
    assert caller.CommitDraft(**fields).message == stored
    assert caller.CommitDraft(**{**fields, "request_id": ""}).message == stored
    (found,) = caller.history(session)
    assert (found.content, found.name, found.role) == ("Hello", "ada", "assistant")
    assert found.metadata["source"] == "web"


def test_a_commit_with_content_needs_no_draft(caller: Caller) -> None:
    session = caller.new_id()
    refusal = refused(caller.CommitDraft, session_id=session, message_id="m")
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "DRAFT_NOT_FOUND")
    whole = message(role="assistant", content="Hello")
    assert caller.CommitDraft(session_id=session, message_id="m", message=whole).message.content == "Hello"


def test_a_refused_commit_leaves_the_draft(caller: Caller) -> None:
    session = caller.new_id()
    write(caller, session, "Hello")
    bad = message(role="r" * 65)
    assert refused(caller.CommitDraft, session_id=session, message_id="m", message=bad).fields == [
        "message.role"
    ]
    large = message(content="x" * (256 * 1024 + 1))
    refusal = refused(caller.CommitDraft, session_id=session, message_id="m", message=large)
    assert (refusal.reason, refusal.metadata) == ("LIMIT_EXCEEDED", {"field": "message.content"})
    assert caller.CommitDraft(session_id=session, message_id="m").message.content == "Hello"


def limit_of(refusal: Refusal) -> tuple[str, str, str]:
    return refusal.code, refusal.reason, refusal.metadata["field"]


def test_a_session_has_sixteen_drafts_of_256_kib(caller: Caller) -> None:
    session = caller.new_id()
    for number in range(16):
        write(caller, session, "x", message_id=f"m-{number}")
    refusal = refused(write, caller, session, "x", message_id="m-16")
    assert limit_of(refusal) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED", "message_id")
    caller.CommitDraft(session_id=session, message_id="m-3")
    position = write(caller, session, "x" * 200_000, message_id="m-16")
    refusal = refused(write, caller, session, "x" * 100_000, position, message_id="m-16")
    assert limit_of(refusal) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED", "text")
    assert len(caller.CommitDraft(session_id=session, message_id="m-16").message.content) == 200_000


def test_a_draft_has_64_parts(caller: Caller) -> None:
    session = caller.new_id()
    for number in range(64):
        write(caller, session, "x", part=str(number))
    assert limit_of(refused(write, caller, session, "x", part="64"))[2] == "text"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message_id", ""),
        ("message_id", "a/b"),
        ("session_id", "m" * 129),
        ("role", ""),
        ("role", "r" * 65),
        ("name", "n" * 257),
        ("part", "p" * 161),
        ("position", -1),
        ("on_abandon", 99),
        ("idle", {"nanos": 999_999_999}),
        ("idle", {"seconds": 601}),
        ("idle", {"seconds": 600, "nanos": 1}),
        ("idle", {"seconds": 2, "nanos": -1}),
    ],
)
def test_a_bad_field_is_named(caller: Caller, field: str, value: Any) -> None:
    fields = {
        "session_id": caller.new_id(),
        "message_id": "m",
        "role": "assistant",
        "text": "x",
        field: value,
    }
    refusal = refused(caller.WriteDraft, **fields)
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", [field])


@pytest.mark.parametrize(
    "interval", [{"seconds": 10, "nanos": 1}, {"seconds": 11}, {"seconds": -1}, {"nanos": -1}]
)
def test_a_bad_interval_is_refused(caller: Caller, interval: dict[str, int]) -> None:
    refusal = refused(
        caller.Subscribe, session_id=caller.new_id(), include_drafts=True, draft_interval=interval
    )
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["draft_interval"])


def test_the_id_of_the_message_is_that_of_the_draft(caller: Caller) -> None:
    other = message(id="n")
    refusal = refused(caller.CommitDraft, session_id=caller.new_id(), message_id="m", message=other)
    assert refusal.fields == ["message.id"]


def test_a_read_only_token_watches_and_does_not_write(
    writer: Caller, reader: Caller, stranger: Caller
) -> None:
    session = writer.new_id()
    with watching(reader, session) as watch:
        assert refused(write, reader, session, "Hello").code == "PERMISSION_DENIED"
        assert refused(write, stranger, session, "Hello").reason == "SESSION_NOT_FOUND"
        write(writer, session, "Hello")
        watch.text("Hello")


def test_concurrent_writers_write_every_piece_once(caller: Caller) -> None:
    session, text = caller.new_id(), "".join(chr(97 + number % 26) for number in range(400))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda end: write(caller, session, text[:end]), range(1, len(text) + 1)))
    assert caller.CommitDraft(session_id=session, message_id="m").message.content == text


@pytest.fixture
def clock(tmp_path: Path) -> SharedClock:
    return SharedClock(tmp_path / "clock")


@pytest.fixture
def timed(tmp_path: Path, clock: SharedClock) -> Iterator[Server]:
    with start_server(tmp_path, env={"SESSIONS_MAX_DRAFT_BYTES": str(1024**2)}, clock=clock) as server:
        yield server


def test_a_silent_writers_draft_is_abandoned_or_committed_as_configured(
    timed: Server, clock: SharedClock
) -> None:
    with Caller(timed) as caller:
        session = caller.new_id()
        with watching(caller, session) as watch:
            write(caller, session, "Hello", idle={"seconds": 30})
            watch.text("Hello")
            write(caller, session, "Bye", message_id="n", on_abandon=drafts_pb.ABANDON_COMMIT)
            watch.text("Bye")
            clock.turn(seconds=29)
            write(caller, session, "", 5)
            clock.turn(seconds=31)
            seen = [watch.next(), watch.next()]
        (ended,) = [each.draft for each in seen if each.HasField("draft")]
        (stored,) = [each.event.message for each in seen if each.HasField("event")]
        assert (ended.message_id, ended.state) == ("m", ABANDONED)
        assert (stored.id, stored.content) == ("n", "Bye")
        assert stored.metadata["interrupted"] is True


def test_an_expired_session_accepts_no_piece(timed: Server, clock: SharedClock) -> None:
    with Caller(timed) as caller:
        session = caller.new_id(config={"timeout": {"seconds": 10}})
        with watching(caller, session) as watch:
            position = write(caller, session, "Hello")
            watch.text("Hello")
            clock.turn(seconds=10)
            assert refused(write, caller, session, "x", position).reason == "INVALID_STATE"
            states = [watch.next(), watch.next()]
        assert DISCARDED in [each.draft.state for each in states]


def test_the_memory_for_drafts_is_bounded_and_released(timed: Server) -> None:
    with Caller(timed) as caller:
        sessions = [caller.new_id() for _ in range(5)]
        for session in sessions[:4]:
            write(caller, session, "x" * 250_000)
        refusal = refused(write, caller, sessions[4], "x" * 250_000)
        assert limit_of(refusal) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED", "text")
        caller.WriteDraft(session_id=sessions[0], message_id="m", discard=True)
        write(caller, sessions[4], "x" * 250_000)


def test_a_server_that_stops_abandons_its_drafts(timed: Server) -> None:
    with Caller(timed) as caller:
        session = caller.new_id()
        with watching(caller, session) as watch:
            write(caller, session, "Hello", on_abandon=drafts_pb.ABANDON_COMMIT)
            watch.text("Hello")
            assert timed.stop() == 0
            assert watch.next().draft.state == ABANDONED
            assert isinstance(watch.next(), grpc.RpcError)
        timed.start()
        assert caller.history(session) == []
