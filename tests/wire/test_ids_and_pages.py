"""Invalid ids, numbers, times and page tokens are refused, and nothing is written."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.structs import struct
from tests.wire.stubs import Caller, message, refused, set_change

BAD_IDS = [
    pytest.param("", id="empty"),
    pytest.param("x" * 129, id="129 characters"),
    pytest.param("../../etc/passwd", id="a path"),
    pytest.param("a\0b", id="nul"),
    pytest.param("\N{GRINNING FACE}", id="an emoji"),
    pytest.param("'; DROP TABLE sessions;--", id="sql"),
]


@pytest.mark.parametrize("text", BAD_IDS)
@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("GetSession", {}),
        (
            "UpdateSession",
            {"session": {"metadata": struct({"a": 1})}, "update_mask": {"paths": ["metadata"]}},
        ),
        ("DeleteSession", {}),
        ("StartSession", {}),
        ("EndSession", {}),
        ("SetContext", {}),
        ("UpdateContext", {"changes": [set_change("a")]}),
        ("GetContext", {}),
        ("AddMessage", {"message": message()}),
        ("AddMessages", {"messages": [message()]}),
        ("GetHistory", {}),
        ("ClearHistory", {}),
        ("Subscribe", {}),
        ("ExportSession", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_invalid_session_id_is_refused_by(
    caller: Caller, method: str, fields: dict[str, Any], text: str
) -> None:
    refusal = refused(getattr(caller, method), session_id=text, **fields)
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["session_id"])
    assert not text or text not in refusal.message


@pytest.mark.parametrize("text", BAD_IDS[1:])
def test_an_invalid_id_cannot_be_chosen(caller: Caller, text: str) -> None:
    refusal = refused(caller.CreateSession, user_id="u", session_id=text)
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["session_id"])


def test_a_chosen_id_is_created_once_and_a_repeat_gets_the_first_response(caller: Caller) -> None:
    fields = {"user_id": "u", "session_id": "chosen", "request_id": "r-1"}
    first = caller.session(**fields)
    caller.StartSession(session_id="chosen")
    assert caller.session(**fields) == first
    assert refused(caller.CreateSession, user_id="u", session_id="chosen").code == "ALREADY_EXISTS"
    assert caller.session(user_id="u", session_id="chosen", if_exists=pb.IF_EXISTS_RETURN).state == 2


def test_an_existing_session_is_returned_even_if_no_new_one_could_be_encrypted(caller: Caller) -> None:
    session = caller.session()
    wanted = {"storage_options": {"encryption": True}, "if_exists": pb.IF_EXISTS_RETURN}
    assert caller.session(session_id=session.id, **wanted) == session
    for fields in ({"session_id": f"{session.id}-new"}, {"request_id": f"{session.id}-new"}):
        refusal = refused(caller.CreateSession, user_id="u", **wanted, **fields)
        assert refusal.reason == "ENCRYPTION_NOT_CONFIGURED"


def test_a_request_id_without_a_session_id_finds_the_session_that_it_created(caller: Caller) -> None:
    first, second = (caller.session(request_id="derived") for _ in range(2))
    assert first == second
    assert caller.session(request_id="another").id != first.id


@pytest.mark.parametrize(
    ("method", "fields", "field"),
    [
        pytest.param("ListSessions", {"page_size": -1}, "page_size", id="a negative page"),
        pytest.param("SearchSessions", {"page_size": -1}, "page_size", id="a negative page of a search"),
        pytest.param("GetHistory", {"session_id": "s", "limit": -1}, "limit", id="a negative limit"),
        pytest.param("ListSessions", {"order_by": "user_id"}, "order_by", id="an unknown column"),
        pytest.param("ListSessions", {"order_by": "1; DROP TABLE sessions"}, "order_by", id="sql"),
        pytest.param("ListSessions", {"states": [77]}, "states", id="an unknown state"),
        pytest.param("ListSessions", {"states": [0]}, "states", id="no state"),
        pytest.param("ListSessions", {"page_token": "garbage!"}, "page_token", id="a token of garbage"),
        pytest.param("ListSessions", {"page_token": "QUJD"}, "page_token", id="a short token"),
        pytest.param(
            "SearchSessions",
            {"metadata_filter": struct({"a": {"$where": "1"}})},
            "metadata_filter",
            id="an operator",
        ),
        pytest.param(
            "SearchSessions",
            {"metadata_filter": struct({"$or": [{"a": 1}]})},
            "metadata_filter",
            id="an operator at the top",
        ),
        pytest.param(
            "SearchSessions",
            {"metadata_filter": struct({"a": {"b": {"$gt": 1}}})},
            "metadata_filter",
            id="an operator in an object",
        ),
    ],
)
def test_a_query_is_refused_for(caller: Caller, method: str, fields: dict[str, Any], field: str) -> None:
    refusal = refused(getattr(caller, method), **fields)
    assert (refusal.code, refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", "INVALID_REQUEST", [field])


@pytest.fixture
def paged(caller: Caller) -> tuple[dict[str, Any], str]:
    """A query with two pages of results, and the token of the second."""
    user = caller.session(user_id=f"paged-{caller.new_id()}").user_id
    caller.session(user_id=user)
    query = {"user_id": user, "page_size": 1}
    return query, caller.ListSessions(**query).next_page_token


def test_pages_lead_to_the_end_whatever_their_size(caller: Caller, paged: tuple[dict[str, Any], str]) -> None:
    query, token = paged
    last = caller.ListSessions(**{**query, "page_size": 2**31 - 1, "page_token": token})
    assert (len(last.sessions), last.next_page_token) == (1, "")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"user_id": "another"}, id="user"),
        pytest.param({"order_by": "update_time"}, id="order"),
        pytest.param({"states": [pb.SESSION_STATE_ACTIVE]}, id="states"),
    ],
)
def test_a_token_belongs_to_its_query(
    caller: Caller, paged: tuple[dict[str, Any], str], change: dict[str, Any]
) -> None:
    query, token = paged
    assert refused(caller.ListSessions, **{**query, **change, "page_token": token}).fields == ["page_token"]


def test_a_list_token_is_not_a_search_token(caller: Caller, paged: tuple[dict[str, Any], str]) -> None:
    query, token = paged
    refusal = refused(caller.SearchSessions, **query, page_token=token, metadata_filter=struct({"a": 1}))
    assert refusal.fields == ["page_token"]


def test_a_damaged_token_is_refused(caller: Caller, paged: tuple[dict[str, Any], str]) -> None:
    query, token = paged
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    flips = [raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] for at in range(len(raw))]
    cuts = [token[:length] for length in range(1, len(token))]
    for bad in [base64.urlsafe_b64encode(flip).decode().rstrip("=") for flip in flips] + cuts:
        assert refused(caller.ListSessions, **query, page_token=bad).fields == ["page_token"]


def test_a_token_in_another_spelling_is_refused(caller: Caller, paged: tuple[dict[str, Any], str]) -> None:
    query, token = paged
    user = query["user_id"]
    while len(token) % 4 == 0:  # its last character then has no unused bits
        caller.session(user_id=user, session_id=f"{user[6:]}{'x' * len(token)}"[-128:])
        token = caller.ListSessions(**query).next_page_token
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = token[:-1] + digits[digits.index(token[-1]) ^ 1]
    for bad in (f"{token}=", f"{token}==", f"{token}\n", f" {token}", f"{token}\N{SNOWMAN}", last):
        assert refused(caller.ListSessions, **query, page_token=bad).fields == ["page_token"], bad
    assert len(caller.ListSessions(**query, page_token=token).sessions) == 1


@pytest.mark.parametrize(
    "span",
    [
        pytest.param(Duration(), id="nothing"),
        pytest.param(Duration(seconds=-1), id="negative"),
        pytest.param(Duration(nanos=1), id="a nanosecond"),
        pytest.param(Duration(seconds=315_360_000_000), id="10,000 years"),
        pytest.param(Duration(seconds=1, nanos=-1), id="mixed signs"),
    ],
)
def test_an_invalid_duration_is_refused_on_the_wire(caller: Caller, span: Duration) -> None:
    refusal = refused(
        caller.CreateSession, user_id="u", config={"timeout": span}, storage_options={"ttl": span}
    )
    assert sorted(refusal.fields) == ["config.timeout", "storage_options.ttl"]


def test_the_response_shows_the_defaults(caller: Caller) -> None:
    permanent = caller.session()
    assert permanent.config.overflow == pb.OVERFLOW_TRUNCATE_OLDEST
    assert permanent.storage_options.persistence == pb.PERSISTENCE_PERMANENT
    assert permanent.storage_options.expiry_action == pb.EXPIRY_ACTION_RETAIN
    assert not permanent.HasField("expire_time")
    temporary = caller.session(storage_options={"persistence": pb.PERSISTENCE_TEMPORARY})
    assert temporary.storage_options.ttl.seconds == 24 * 3600
    assert temporary.storage_options.expiry_action == pb.EXPIRY_ACTION_DELETE
    assert temporary.expire_time.seconds == temporary.create_time.seconds + 24 * 3600
