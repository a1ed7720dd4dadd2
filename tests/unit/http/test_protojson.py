"""The JSON of responses: fields in the order of the protos, and Structs in sorted order."""

from __future__ import annotations

import json

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.http.protojson import shown

KEYS = ("b", "\N{LATIN SMALL LETTER E WITH ACUTE}", "a", "B", "10", "9", "/", "", "c", "zz", "z")


def test_keys_come_in_one_order_in_every_process() -> None:
    nested = {key: {inner: [dict.fromkeys(KEYS, 1.0)] for inner in KEYS} for key in KEYS}
    session = pb.Session(user_id="u", id="s")
    session.metadata.update(nested)
    update = pb.ContextChange(path="p")
    update.set.struct_value.update(nested)
    request = pb.UpdateContextRequest(session_id="s", changes=[update, update])
    found = [json.loads(shown(pb.GetSessionResponse(session=session)))["session"]["metadata"]]
    found += [each["set"] for each in json.loads(shown(request))["changes"]]
    for each in found:
        assert each == nested
        assert list(each) == sorted(KEYS)
        assert {tuple(inner) for inner in each.values()} == {tuple(sorted(KEYS))}
        assert {tuple(last) for inner in each.values() for [last] in inner.values()} == {tuple(sorted(KEYS))}
    assert [*json.loads(shown(pb.GetSessionResponse(session=session)))["session"]] == [
        "id",
        "userId",
        "metadata",
    ]


def test_whole_numbers_and_times_have_the_callers_form() -> None:
    message = pb.Message(id="m", sequence=3)
    message.data.update({"whole": 1.0, "half": 0.5, "large": 2.0**60, "list": [2.0, None, True, "x"]})
    message.create_time.FromSeconds(0)
    assert json.loads(shown(message)) == {
        "id": "m",
        "sequence": "3",
        "data": {"half": 0.5, "large": 2.0**60, "list": [2, None, True, "x"], "whole": 1},
        "createTime": "1970-01-01T00:00:00Z",
    }
    assert b'"whole":1}' in shown(message)
