"""A session's events over HTTP: server-sent events, and the same log as a Durable Stream, across restarts."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.server import Server, start_server
from tests.support.web import Answer, Web, reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import Postgres


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(
        tmp_path_factory.mktemp("events"), http=True, env={"SESSIONS_CHECKPOINT_INTERVAL": "0.1"}
    ) as server:
        yield server


@pytest.fixture
def web(served: Server) -> Web:
    return Web(served.url)


def session_with(web: Web, messages: int) -> str:
    session = str(web.done("CreateSession", {"userId": "u1"})["session"]["id"])
    for number in range(messages):
        say(web, session, str(number))
    return session


def say(web: Web, session: str, content: str) -> None:
    web.done("AddMessage", {"sessionId": session, "message": {"role": "user", "content": content}})


def test_drafts_are_separate_events_without_an_id(web: Web) -> None:
    session = session_with(web, 0)
    piece = {"sessionId": session, "messageId": "m-1", "role": "assistant", "text": "Hel"}
    position = web.done("sessions.v1.DraftService/WriteDraft", piece)["position"]
    with web.lines(events(session, "?include_drafts=true&draft_interval=0.01s")) as lines:
        blocks = (block for block in lines.blocks() if "event" in block)
        first = next(blocks)
        assert (first["event"], "id" in first) == ("draft", False)
        shown = json.loads(first["data"])
        assert (shown["messageId"], shown["text"], shown["state"]) == ("m-1", "Hel", "DRAFT_STATE_WRITING")
        web.done("sessions.v1.DraftService/WriteDraft", {**piece, "text": "lo", "position": position})
        second = json.loads(next(blocks)["data"])
        assert (second["from"], second["text"]) == (position, "lo")
        web.done("sessions.v1.DraftService/CommitDraft", {"sessionId": session, "messageId": "m-1"})
        last = next(blocks)
        assert (last["event"], json.loads(last["data"])["message"]["content"]) == ("message", "Hello")


def events(session: str, query: str = "") -> str:
    return f"/v1/sessions/{session}/events{query}"


def durable(web: Web, session: str, query: str, **headers: str) -> Answer:
    return web.get(events(session, query), **headers)


def sequences(answer: Answer) -> list[int]:
    return [int(event["sequence"]) for event in answer.json]


def offset(sequence: int) -> str:
    return f"{sequence:020d}"


def plain(place: str) -> str:
    """An id or offset without the identity of the log."""
    assert len(place.partition("@")[2]) >= 32, place
    return place.partition("@")[0]


def test_each_event_has_its_sequence_as_id_its_type_as_name_and_itself_as_data(web: Web) -> None:
    session = session_with(web, 1)
    with web.lines(events(session, "?after_sequence=0")) as lines:
        assert lines.headers["content-type"].startswith("text/event-stream")
        assert (lines.headers["x-accel-buffering"], lines.headers["cache-control"]) == ("no", "no-store")
        blocks = lines.blocks()
        first = next(blocks)
        assert (first["retry"], plain(first["id"]), len(first)) == ("1000", "0", 2)
        created, message = next(blocks), next(blocks)
    assert (plain(created["id"]), created["event"]) == ("1", "created")
    assert (plain(message["id"]), message["event"]) == ("2", "message")
    assert json.loads(message["data"])["message"]["content"] == "0"


def test_without_a_position_only_new_events_are_sent_and_checkpoints_advance_the_id(web: Web) -> None:
    session = session_with(web, 2)
    with web.lines(events(session, "?event_types=deleted,state_change")) as lines:
        blocks = lines.blocks()
        assert plain(next(blocks)["id"]) == "3"
        say(web, session, "filtered")
        assert next(block for block in blocks if plain(block["id"]) == "4").keys() == {"id"}
        web.done("StartSession", {"sessionId": session})
        assert next(block for block in blocks if "event" in block)["event"] == "state_change"


def test_a_stream_continues_after_the_last_event_id(web: Web) -> None:
    session = session_with(web, 3)
    with web.lines(events(session, "?after_sequence=0"), last_event_id="3") as lines:
        blocks = lines.blocks()
        assert [plain(next(blocks)["id"]), plain(next(blocks)["id"])] == ["3", "4"]


def test_a_stream_ends_after_the_deletion_and_is_refused_without_a_session(
    web: Web,
) -> None:
    session = session_with(web, 0)
    with web.lines(events(session, "?after_sequence=0")) as lines:
        web.done("DeleteSession", {"sessionId": session})
        assert [block["event"] for block in lines.blocks() if "event" in block] == ["created", "deleted"]
    assert durable(web, session, "").reason == "SESSION_NOT_FOUND"
    ahead = web.get(events(session_with(web, 0), "?after_sequence=9"))
    assert (ahead.status, ahead.reason) == (400, "CURSOR_AHEAD")


def test_a_stream_resumed_by_id_after_kills_has_no_gap_and_no_duplicate(tmp_path: Path) -> None:
    with start_server(tmp_path, http=True) as server:
        web = Web(server.url)
        session = session_with(web, 3)
        seen: list[str] = []
        for _ in range(3):
            headers = {"last_event_id": seen[-1]} if seen else {}
            with web.lines(events(session, "?after_sequence=0"), **headers) as lines:
                blocks = (block for block in lines.blocks() if "event" in block)
                say(web, session, "live")
                seen.extend(next(blocks)["id"] for _ in range(2))
                server.restart()
        assert [*map(plain, seen)] == [*"123456"]


def test_a_reader_catches_up_and_knows_its_position(web: Web) -> None:
    session = session_with(web, 2)
    caught_up = durable(web, session, "?offset=-1")
    assert sequences(caught_up) == [1, 2, 3]
    assert caught_up.headers["content-type"] == "application/json"
    assert plain(caught_up.headers["stream-next-offset"]) == offset(3)
    assert caught_up.headers["stream-up-to-date"] == "true"
    assert sequences(durable(web, session, f"?offset={offset(1)}")) == [2, 3]
    at_the_end = durable(web, session, f"?offset={offset(3)}")
    assert (sequences(at_the_end), plain(at_the_end.headers["stream-next-offset"])) == ([], offset(3))
    now = durable(web, session, "?offset=now")
    assert (sequences(now), plain(now.headers["stream-next-offset"])) == ([], offset(3))


def test_unchanged_content_is_not_sent_twice_and_erasure_changes_it(web: Web) -> None:
    session = session_with(web, 1)
    first = durable(web, session, "?offset=-1")
    again = durable(web, session, "?offset=-1", if_none_match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    web.done("ClearHistory", {"sessionId": session})
    assert durable(web, session, "?offset=-1", if_none_match=first.headers["etag"]).status == 200


def test_a_large_log_is_sent_in_pieces(web: Web) -> None:
    session = session_with(web, 0)
    for number in range(8):
        say(web, session, f"{number}" * 200_000)
    first = durable(web, session, "?offset=-1")
    assert "stream-up-to-date" not in first.headers
    rest = durable(web, session, f"?offset={first.headers['stream-next-offset']}")
    assert sequences(first) + sequences(rest) == list(range(1, 10))
    assert rest.headers["stream-up-to-date"] == "true"


def test_head_returns_the_end_of_the_log(web: Web) -> None:
    answer = web.send("HEAD", events(session_with(web, 2)))
    assert (answer.status, plain(answer.headers["stream-next-offset"])) == (200, offset(3))
    assert answer.headers["content-type"] == "application/json"
    assert web.send("HEAD", events("none")).status == 404


def test_a_long_poll_ends_with_the_first_event_or_its_timeout(web: Web) -> None:
    session = session_with(web, 0)
    nothing = durable(web, session, f"?offset={offset(1)}&live=long-poll&timeout=0&cursor=7")
    assert (nothing.status, nothing.body) == (204, b"")
    assert plain(nothing.headers["stream-next-offset"]) == offset(1)
    assert nothing.headers["stream-up-to-date"] == "true"
    assert int(nothing.headers["stream-cursor"]) > 7
    with ThreadPoolExecutor() as threads:
        poll = threads.submit(durable, web, session, f"?offset={offset(1)}&live=long-poll&timeout=60")
        say(web, session, "live")
        assert sequences(poll.result()) == [2]
    assert plain(poll.result().headers["stream-next-offset"]) == offset(2)


def controls(blocks: Iterator[dict[str, str]]) -> Iterator[dict[str, Any]]:
    return (json.loads(block["data"]) for block in blocks if block.get("event") == "control")


def test_live_events_come_with_the_offset_to_continue_at(web: Web) -> None:
    session = session_with(web, 1)
    with web.lines(events(session, "?offset=-1&live=sse")) as lines:
        blocks = lines.blocks()
        kinds = [next(blocks)["event"] for _ in range(5)]
        assert kinds == ["control", "data", "control", "data", "control"]
        say(web, session, "live")
        data = next(block for block in blocks if block["event"] == "data")
        assert [event["sequence"] for event in json.loads(data["data"])] == ["3"]
        assert plain(next(controls(blocks))["streamNextOffset"]) == offset(3)
        web.done("DeleteSession", {"sessionId": session})
        *_, last = controls(blocks)
    assert plain(last.pop("streamNextOffset")) == offset(4)
    assert last == {"streamClosed": True, "upToDate": True}


def test_after_the_deletion_the_rest_is_read_and_the_stream_is_closed(web: Web) -> None:
    session = session_with(web, 1)
    web.done("DeleteSession", {"sessionId": session})
    rest = durable(web, session, f"?offset={offset(1)}")
    assert sequences(rest)[-1] == 3
    assert (rest.headers["stream-closed"], rest.headers["stream-up-to-date"]) == ("true", "true")
    gone = durable(web, session, f"?offset={offset(3)}")
    assert (gone.status, reason_of(gone.json)) == (404, "SESSION_NOT_FOUND")


def test_compacted_events_are_gone(tmp_path: Path) -> None:
    env = {"SESSIONS_EVENTS_KEPT": "0", "SESSIONS_SWEEP_INTERVAL": "0.05"}
    with start_server(tmp_path, http=True, env=env) as server:
        web = Web(server.url)
        session = session_with(web, 0)
        for verb in ("StartSession", "PauseSession", "ResumeSession"):
            web.done(verb, {"sessionId": session})
        while (gone := durable(web, session, "?offset=-1")).status == 200:
            pass
        assert (gone.status, gone.reason) == (410, "EVENTS_COMPACTED")
        for block in gone.json["details"]:
            assert int(block["debug"]["metadata"]["oldest_sequence"]) > 1


def test_a_place_from_before_a_restore_names_no_event_of_the_restored_log(tmp_path: Path) -> None:
    file, backup = tmp_path / "sessions.db", tmp_path / "backup"
    with start_server(tmp_path, http=True) as server:
        session = session_with(Web(server.url), 2)
    shutil.copy(file, backup)
    with start_server(tmp_path, http=True) as server:
        web = Web(server.url)
        say(web, session, "lost")
        with web.lines(events(session, "?after_sequence=3")) as lines:
            place = next(block for block in lines.blocks() if "event" in block)["id"]
        lost = durable(web, session, f"?offset={offset(3)}").headers["stream-next-offset"]
    shutil.copy(backup, file)
    with start_server(tmp_path, http=True) as server:
        web = Web(server.url)
        say(web, session, "another")
        refused = web.get(events(session), last_event_id=place)
        assert (refused.status, refused.reason) == (400, "LOG_REPLACED")
        gone = durable(web, session, f"?offset={lost}")
        assert (gone.status, gone.reason) == (410, "LOG_REPLACED")
        with web.lines(events(session), last_event_id=plain(place)) as lines:
            assert plain(next(lines.blocks())["id"]) == plain(place)


@pytest.fixture(scope="module")
def on_postgres(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    database = asyncio.run(postgres_server.fresh_database())
    env = {
        "SESSIONS_DATABASE_URL": postgres_server.url(database),
        "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true",
        "SESSIONS_CHECKPOINT_INTERVAL": "0.1",
    }
    with start_server(tmp_path_factory.mktemp("postgres"), http=True, env=env) as server:
        yield Web(server.url)


def of_another_log(place: str) -> str:
    """The same position in the session's log on another server."""
    return f"{place.rpartition('-')[0]}-00000000"


def test_a_place_names_an_event_where_the_database_can_fail_over(on_postgres: Web) -> None:
    web = on_postgres
    session = session_with(web, 2)
    with web.lines(events(session, "?after_sequence=0")) as lines:
        places = [block["id"] for block, _ in zip(lines.blocks(), range(3), strict=False)]
    assert [place.partition("@")[0] for place in places] == ["0", "1", "2"]
    assert len({place.partition("@")[2] for place in places}) == 1
    for place in (places[-1], "2"):
        with web.lines(events(session, "?after_sequence=0"), last_event_id=place) as lines:
            blocks = lines.blocks()
            assert next(blocks)["id"] == places[-1]
            assert next(blocks)["event"] == "message"
    refused = web.get(events(session, "?after_sequence=0"), last_event_id=of_another_log(places[-1]))
    assert (refused.status, refused.reason) == (400, "LOG_REPLACED")


def test_an_offset_names_an_event_where_the_database_can_fail_over(on_postgres: Web) -> None:
    web = on_postgres
    session = session_with(web, 2)
    first = durable(web, session, "?offset=-1")
    place = first.headers["stream-next-offset"]
    assert place.startswith(f"{offset(3)}@")
    say(web, session, "three")
    rest = durable(web, session, f"?offset={place}")
    assert sequences(rest) == [4]
    assert rest.headers["stream-next-offset"] == place.replace(offset(3), offset(4))
    gone = durable(web, session, f"?offset={of_another_log(place)}")
    assert (gone.status, gone.reason) == (410, "LOG_REPLACED")
    with web.lines(events(session, f"?offset={place}&live=sse")) as lines:
        assert next(controls(lines.blocks()))["streamNextOffset"] == place


def test_a_wrong_parameter_is_named(web: Web) -> None:
    session = session_with(web, 0)
    wrong = {
        "after_sequence=x": "after_sequence",
        "event_types=message,nothing": "event_types[1]",
        "include_changes=maybe": "include_changes",
        "draft_interval=5": "draft_interval",
    }
    for query, field in wrong.items():
        answer = web.get(events(session, f"?{query}"))
        assert (answer.status, answer.reason) == (400, "INVALID_REQUEST")
        [bad] = [each["debug"] for each in answer.json["details"] if each["type"] == "google.rpc.BadRequest"]
        assert [violation["field"] for violation in bad["fieldViolations"]] == [field]
