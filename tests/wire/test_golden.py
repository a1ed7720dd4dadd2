"""Conversations on the wire, compared with reviewed transcripts in golden/.

A difference is a change that callers see. UPDATE_GOLDEN=1 updates the transcripts: review them, and say in the commit
why they changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from google.protobuf.duration_pb2 import Duration

from sessions_proto.v1 import commits_pb2 as commits_pb, records_pb2 as records_pb, sessions_pb2 as pb
from tests.support.structs import struct
from tests.wire.stubs import Caller, message, set_change
from tests.wire.transcript import Transcript

GOLDEN: Final = Path(__file__).parent / "golden"


def a_conversation(wire: Transcript, id_: str) -> None:
    config = pb.SessionConfig(timeout=Duration(seconds=1800), max_messages=100)
    wire.say(
        "CreateSession", session_id=id_, user_id="golden", metadata=struct({"device": "web"}), config=config
    )
    wire.say("StartSession", session_id=id_)
    wire.say("AddMessage", session_id=id_, message=message("What is the weather?", id="m1"))
    data = struct({"tool_calls": [{"name": "weather", "arguments": {"city": "Berlin"}}]})
    answers = [
        message("", role="assistant", data=data, id="m2"),
        message("21", role="tool", id="m3", name="weather"),
    ]
    wire.say("AddMessages", session_id=id_, messages=answers)
    wire.say("GetHistory", session_id=id_, limit=2)
    wire.say("SetContext", session_id=id_, context=struct({"city": "Berlin"}))
    wire.say("UpdateContext", session_id=id_, changes=[set_change("days.first", "sunny")])
    wire.say("GetContext", session_id=id_, path="days")
    wire.say("PauseSession", session_id=id_)
    wire.say("ResumeSession", session_id=id_)
    wire.say("EndSession", session_id=id_)
    wire.say("ListSessions", user_id="golden", states=[pb.SESSION_STATE_ENDED], page_size=1)
    wire.say("ClearHistory", session_id=id_)
    wire.say("DeleteSession", session_id=id_)


def refusals(wire: Transcript, id_: str) -> None:
    wire.say("GetSession", session_id=f"{id_}-nobody")
    wire.say("CreateSession", session_id="not an id", user_id="")
    wire.say("CreateSession", session_id=id_, user_id="golden-refused", request_id="r1")
    wire.say("CreateSession", session_id=id_, user_id="golden-refused")
    wire.say("CreateSession", session_id=id_, user_id="golden-other", request_id="r1")
    wire.say("ResumeSession", session_id=id_)
    wire.say("SetContext", session_id=id_, context=struct({"a": "text"}), etag="stale")
    wire.say("SetContext", session_id=id_, context=struct({"a": "text"}))
    wire.say("UpdateContext", session_id=id_, changes=[set_change("a.b")])
    wire.say("AddMessage", session_id=id_, message=pb.Message(role="r" * 65))
    wire.say("GetHistory", session_id=id_, limit=-1)
    wire.say("SearchSessions", metadata_filter=struct({"device": {"$near": 1}}))
    wire.read("Subscribe", 1, session_id=id_, after_sequence=17)
    wire.say("GetSession", session_id=id_, at_sequence=17)


def the_log(wire: Transcript, id_: str) -> None:
    wire.say("CreateSession", session_id=id_, user_id="golden-log")
    wire.say("StartSession", session_id=id_)
    wire.say("AddMessage", session_id=id_, message=message(id="m1"), request_id="r1")
    wire.say("UpdateContext", session_id=id_, changes=[set_change("task")])
    wire.read("Subscribe", 5, session_id=id_, after_sequence=0, include_changes=True)
    wire.say("GetContext", session_id=id_, at_sequence=3)
    wire.say("ForkSession", session_id=id_, at_sequence=3, new_session_id=f"{id_}-fork")
    wire.say("ClearHistory", session_id=id_)
    wire.read("Subscribe", 4, session_id=id_, after_sequence=2)


def commits_and_records(wire: Transcript, id_: str) -> None:
    scope = records_pb.Scope(session_id=id_)
    name = records_pb.RecordName(scope=scope, collection=["carts"], key="today")
    record = records_pb.Record(name=name, value=b'{"items": 2}', labels=struct({"items": 2}))
    append = commits_pb.Operation(append=message(id="m1"))
    put = commits_pb.Operation(put=commits_pb.RecordPut(record=record))
    create = commits_pb.NewSession(user_id="golden-commits")
    for _ in range(2):
        wire.say("Commit", session_id=id_, create=create, operations=[append, put], request_id="c1")
    wire.say("Commit", session_id=id_, conditions=[commits_pb.Condition(history_head=1)], operations=[append])
    wire.say("GetRecord", name=name)
    wire.say("ListRecords", scope=scope, collection=["carts"], filter=struct({"items": {"$gte": 1}}))
    wire.say("ListCollections", scope=scope)


def an_export(wire: Transcript, id_: str) -> None:
    wire.say("CreateSession", session_id=id_, user_id="golden-export", metadata=struct({"n": 1}))
    wire.say("SetContext", session_id=id_, context=struct({"k": [1, True, None]}))
    wire.say("AddMessage", session_id=id_, message=message(id="m1"))
    wire.read("ExportSession", 10, session_id=id_)


CONVERSATIONS: Final[tuple[Callable[[Transcript, str], None], ...]] = (
    a_conversation,
    refusals,
    the_log,
    commits_and_records,
    an_export,
)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda each: each.__name__)
def test_a_conversation_matches_its_transcript(
    caller: Caller, conversation: Callable[[Transcript, str], Any]
) -> None:
    wire = Transcript(caller)
    conversation(wire, f"golden-{conversation.__name__}")
    file = GOLDEN / f"{conversation.__name__}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(wire.text, encoding="utf-8")
    assert wire.text == file.read_text(encoding="utf-8")
