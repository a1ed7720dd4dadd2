"""Every field of a request is read. The fields come from the descriptors, so that new ones are covered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value

from sessions_proto.v1 import (
    commits_pb2 as commits_pb,
    drafts_pb2 as drafts_pb,
    records_pb2 as records_pb,
    sessions_pb2 as pb,
)
from sessions_server.domain.commit import Commit
from sessions_server.domain.errors import DomainError
from sessions_server.domain.operations import Verb
from sessions_server.rpc.convert import commits, content, drafts, lists, reads, records, sessions
from sessions_server.rpc.convert.common import read_named
from tests.support.structs import struct
from tests.unit.rpc.build import (
    LIMITS,
    TENANT,
    full_config,
    full_storage,
    full_wire_message,
    full_wire_record,
    full_write_draft,
    wire_name,
)
from tests.unit.rpc.wire_fields import leaves, settable

if TYPE_CHECKING:
    from google.protobuf.message import Message as WireMessage


OPERATIONS: dict[str, dict[str, Any]] = {
    "set": {"set": Value(number_value=1)},
    "remove": {"remove": True},
    "increment": {"increment": 2.5},
    "append": {"append": Value(string_value="x")},
    "merge": {"merge": struct(k="v")},
}


def change_of_context(**operation: Any) -> pb.ContextChange:
    return pb.ContextChange(path="a.b", **operation)


def full_update(*paths: str) -> pb.UpdateSessionRequest:
    request = pb.UpdateSessionRequest(session_id="s-1", etag="3")
    request.session.metadata.update({"device": "web"})
    request.session.forked_from.session_id = "s-0"
    request.session.config.CopyFrom(full_config())
    request.session.storage_options.CopyFrom(full_storage())
    request.update_mask.paths.extend(paths)
    return request


FULL_CREATE = pb.CreateSessionRequest(
    user_id="u-1",
    metadata=struct(device="web"),
    config=full_config(),
    storage_options=full_storage(),
    session_id="s-1",
    if_exists=pb.IF_EXISTS_RETURN,
)
PERMANENT_CREATE = pb.CreateSessionRequest.FromString(FULL_CREATE.SerializeToString())
PERMANENT_CREATE.storage_options.persistence = pb.PERSISTENCE_PERMANENT
PERMANENT_CREATE.storage_options.expiry_action = pb.EXPIRY_ACTION_ARCHIVE
FULL_SEARCH = pb.SearchSessionsRequest(
    user_id="u-1",
    states=[pb.SESSION_STATE_ACTIVE],
    page_size=5,
    order_by="update_time",
    metadata_filter=struct(device="web"),
)
CREATE = commits_pb.NewSession(
    user_id="u-1",
    metadata=struct(device="web"),
    config=full_config(),
    storage_options=full_storage(),
    if_exists=pb.IF_EXISTS_RETURN,
)
FULL_LIST = records_pb.ListRecordsRequest(
    scope=records_pb.Scope(user_id="u-1"),
    collection=["prefs"],
    subtree=True,
    key_prefix="a",
    after_key="ab",
    before_key="ac",
    filter=struct(a=1),
    order_by="time desc",
    keys_only=True,
    refresh_ttl=True,
    page_size=5,
)
VALUES_LIST = records_pb.ListRecordsRequest()
VALUES_LIST.CopyFrom(FULL_LIST)
VALUES_LIST.keys_only, VALUES_LIST.values_only = False, True
COMMIT_OPERATIONS: list[tuple[commits_pb.Operation, set[str]]] = [
    (commits_pb.Operation(append=full_wire_message()), {"append.sequence", "append.create_time"}),
    *(
        (commits_pb.Operation(truncate=commits_pb.Truncate(return_removed=True, **part)), set())
        for part in ({"after_sequence": 2}, {"through_sequence": 2}, {"newest": 2}, {"oldest": 2})
    ),
    *(
        (commits_pb.Operation(context=change_of_context(**operation)), set())
        for operation in OPERATIONS.values()
    ),
    (
        commits_pb.Operation(put=commits_pb.RecordPut(record=full_wire_record(), if_absent=True)),
        {f"put.record.{name}" for name in ("create_time", "update_time", "expire_time")},
    ),
    *(
        (commits_pb.Operation(delete=commits_pb.RecordDelete(name=wire_name(**scope), prefix=True)), set())
        for scope in ({"session_id": ""}, {"user_id": "u-1"}, {"tenant": True})
    ),
    (commits_pb.Operation(metadata=struct(a=1)), set()),
    (commits_pb.Operation(delete_session=True), set()),
    (commits_pb.Operation(context_data=struct(a=1)), set()),
    (commits_pb.Operation(move=commits_pb.MOVE_PAUSE), set()),
    (commits_pb.Operation(erase_message="m-1"), set()),
]
COMMIT_CONDITIONS = [
    commits_pb.Condition(session_etag="1"),
    commits_pb.Condition(context_etag="1"),
    commits_pb.Condition(history_head=1),
    commits_pb.Condition(last_sequence=1),
    *(
        commits_pb.Condition(record=commits_pb.RecordCondition(name=wire_name(), **state))
        for state in ({"etag": "e-1"}, {"absent": True}, {"present": True})
    ),
]
READ_OPERATIONS: list[tuple[commits_pb.ReadOperation, set[str]]] = [
    (
        commits_pb.ReadOperation(session=pb.GetSessionRequest(session_id="s-1", at_sequence=2)),
        {"refresh_ttl"},
    ),
    (
        commits_pb.ReadOperation(context=pb.GetContextRequest(session_id="s-1", path="a", at_sequence=2)),
        {"refresh_ttl"},
    ),
    (
        commits_pb.ReadOperation(
            history=pb.GetHistoryRequest(session_id="s-1", limit=5, before_sequence=9, after_sequence=2)
        ),
        {"history.window", "history.at_sequence", "refresh_ttl"},
    ),
    (
        commits_pb.ReadOperation(message=commits_pb.MessageName(session_id="s-1", message_id="m-1")),
        {"refresh_ttl"},
    ),
    (commits_pb.ReadOperation(record=wire_name(), refresh_ttl=True), set()),
    # Its own refresh_ttl, and where its page begins, are tested separately.
    (
        commits_pb.ReadOperation(records=FULL_LIST),
        {"records.page_token", "records.values_only", "refresh_ttl"},
    ),
]


def below(name: str, paths: set[str]) -> set[str]:
    return {f"{name}.{path}" for path in paths}


MASK = ("metadata", "config", "storage_options.ttl", "storage_options.expiry_action")
MESSAGE_IGNORED = {"sequence", "create_time"}
SESSION_IGNORED = {
    field.name
    for field in pb.Session.DESCRIPTOR.fields
    if field.name not in ("metadata", "config", "storage_options", "forked_from")
} | {"forked_from.session_id", "forked_from.sequence"}

# A request with every field set, its reader, and the fields that are not read because the server sets them or they are
# passed separately.
REQUESTS: list[tuple[WireMessage, Callable[..., Any], set[str]]] = [
    # Temporary sessions are always deleted, and permanent is the default.
    (FULL_CREATE, sessions.read_create, {"storage_options.expiry_action"}),
    (PERMANENT_CREATE, sessions.read_create, {"storage_options.persistence"}),
    (pb.GetSessionRequest(session_id="s-1", at_sequence=3), sessions.read_get, set()),
    (pb.ExportSessionRequest(session_id="s-1"), read_named, set()),
    (
        full_update(*MASK),
        sessions.read_update,
        {f"session.{name}" for name in SESSION_IGNORED}
        | {"session.storage_options.persistence", "session.storage_options.encryption"},
    ),
    (
        pb.ListSessionsRequest(
            user_id="u-1", states=[pb.SESSION_STATE_ENDED], page_size=5, order_by="update_time desc"
        ),
        lists.read_list,
        {"page_token"},
    ),
    (FULL_SEARCH, lists.read_search, {"page_token"}),
    (pb.DeleteSessionRequest(session_id="s-1", etag="3"), sessions.read_delete, set()),
    (
        pb.SetContextRequest(session_id="s-1", etag="3", context=struct(a=1), forget_past=True),
        content.read_set_context,
        set(),
    ),
    *(
        (
            pb.UpdateContextRequest(
                session_id="s-1", etag="3", changes=[change_of_context(**operation)], forget_past=True
            ),
            content.read_update_context,
            set(),
        )
        for operation in OPERATIONS.values()
    ),
    (pb.GetContextRequest(session_id="s-1", path="a.b", at_sequence=3), content.read_get_context, set()),
    (
        pb.AddMessageRequest(session_id="s-1", message=full_wire_message()),
        content.read_add_message,
        {f"message.{name}" for name in MESSAGE_IGNORED},
    ),
    (
        pb.AddMessagesRequest(session_id="s-1", messages=[full_wire_message()]),
        content.read_add_messages,
        {f"messages.{name}" for name in MESSAGE_IGNORED},
    ),
    (
        pb.GetHistoryRequest(session_id="s-1", limit=5, before_sequence=9, after_sequence=2, at_sequence=7),
        content.read_get_history,
        {"window"},
    ),
    (
        pb.GetHistoryRequest(session_id="s-1", limit=5, at_sequence=7, window=pb.HISTORY_WINDOW_WHOLE_TURNS),
        content.read_get_history,
        set(),
    ),
    (pb.ClearHistoryRequest(session_id="s-1"), content.read_clear_history, set()),
    (
        pb.SubscribeRequest(
            session_id="s-1",
            event_types=[pb.EVENT_TYPE_MESSAGE],
            after_sequence=4,
            include_changes=True,
            log_id="log-1",
            include_drafts=True,
            draft_interval=Duration(seconds=1),
        ),
        content.read_subscribe,
        set(),
    ),
    (
        full_write_draft(),
        drafts.read_write_draft,
        set(),
    ),
    (
        drafts_pb.CommitDraftRequest(session_id="s-1", message_id="m-1", message=full_wire_message()),
        drafts.read_commit_draft,
        {"message.id", "message.sequence", "message.create_time"},
    ),
    *(
        (
            request(session_id="s-1", etag="3"),
            lambda given, verb=verb, **options: sessions.read_move(given, verb=verb, **options),
            set(),
        )
        for request, verb in (
            (pb.StartSessionRequest, Verb.START),
            (pb.PauseSessionRequest, Verb.PAUSE),
            (pb.ResumeSessionRequest, Verb.RESUME),
            (pb.EndSessionRequest, Verb.END),
            (pb.ArchiveSessionRequest, Verb.ARCHIVE),
        )
    ),
    (records_pb.GetRecordRequest(name=wire_name(), refresh_ttl=True), records.read_get_record, set()),
    *(
        (records_pb.GetRecordRequest(name=wire_name(**scope)), records.read_get_record, {"refresh_ttl"})
        for scope in ({"session_id": "s-1"}, {"user_id": "u-1"}, {"tenant": True})
    ),
    (FULL_LIST, records.read_list_records, {"page_token", "values_only"}),
    (VALUES_LIST, records.read_list_records, {"page_token", "keys_only"}),
    (
        records_pb.ListCollectionsRequest(
            scope=records_pb.Scope(all_sessions=True), prefix=["a"], max_depth=2, page_size=5
        ),
        records.read_list_collections,
        {"page_token"},
    ),
    (
        commits_pb.CommitRequest(session_id="s-1", create=CREATE),
        commits.read_commit,
        {"create.storage_options.expiry_action"},
    ),
    *(
        (
            commits_pb.CommitRequest(session_id="s-1", operations=[operation]),
            commits.read_commit,
            below("operations", ignored),
        )
        for operation, ignored in COMMIT_OPERATIONS
    ),
    *(
        (commits_pb.CommitRequest(session_id="s-1", conditions=[condition]), commits.read_commit, set())
        for condition in COMMIT_CONDITIONS
    ),
    *(
        (commits_pb.ReadRequest(reads=[wanted]), reads.read_reads, below("reads", ignored))
        for wanted, ignored in READ_OPERATIONS
    ),
]


def meaning(request: WireMessage, read: Callable[..., Any]) -> Any:
    """The result of reading a request, without its stamp, which covers everything; the error if it is refused."""
    try:
        command = read(request, tenant=TENANT, limits=LIMITS)
    except DomainError as error:
        return str(error)
    return command._replace(request=None) if isinstance(command, Commit) else command


@pytest.mark.parametrize(
    ("request_", "read", "ignored"),
    [pytest.param(*case, id=f"{place}-{type(case[0]).__name__}") for place, case in enumerate(REQUESTS)],
)
def test_every_field_of_a_request_makes_a_difference(
    request_: WireMessage, read: Callable[..., Any], ignored: set[str]
) -> None:
    whole = meaning(request_, read)
    assert not isinstance(whole, str), whole
    changed = type(request_).FromString(request_.SerializeToString())
    idle = set()
    for path, holder, name in settable(changed):
        before = type(holder).FromString(holder.SerializeToString())
        holder.ClearField(name)
        if meaning(changed, read) == whole:
            idle.add(path)
        holder.CopyFrom(before)
    assert idle - {"request_id"} == ignored


READ_ELSEWHERE = {"ForkSessionRequest", "ImportSessionRequest", "StreamCommitsRequest"}
BESIDE = ("request_id", "page_token")
"""Fields covered by the tests of stamps and pages."""


def test_the_cases_cover_every_field_of_a_request() -> None:
    tried = {
        holder.DESCRIPTOR.fields_by_name[name].full_name
        for request, _, _ in REQUESTS
        for _, holder, name in settable(request)
    }
    read = {request.DESCRIPTOR for request, _, _ in REQUESTS}
    missing = {name for each in read for name in leaves(each) - tried if not name.endswith(BESIDE)}
    assert missing == set()
    services = (
        service
        for file in (pb, commits_pb, records_pb)
        for service in file.DESCRIPTOR.services_by_name.values()
    )
    asked = {method.input_type.name for service in services for method in service.methods}
    assert asked - {each.name for each in read} == READ_ELSEWHERE


@pytest.mark.parametrize(
    ("request_", "read"),
    [
        pytest.param(request, read, id=f"{place}-{type(request).__name__}")
        for place, (request, read, _) in enumerate(REQUESTS)
        if "request_id" in request.DESCRIPTOR.fields_by_name
    ],
)
def test_a_stamp_distinguishes_request_method_and_id(request_: WireMessage, read: Callable[..., Any]) -> None:
    def stamp(**changes: str) -> Any:
        changed = type(request_).FromString(request_.SerializeToString())
        for name, value in changes.items():
            setattr(changed, name, value)
        return read(changed, tenant=TENANT, limits=LIMITS).request

    assert stamp() is None
    first = stamp(request_id="r-1")
    assert (first.id, first.method) == ("r-1", type(request_).__name__.removesuffix("Request"))
    assert first == stamp(request_id="r-1")
    assert first != stamp(request_id="r-1", session_id="other")


def test_a_stamp_does_not_depend_on_the_order_in_which_maps_are_sent() -> None:
    def request(*keys: str) -> pb.SetContextRequest:
        made = pb.SetContextRequest(session_id="s-1", request_id="r-1")
        for key in keys:
            made.context.fields[key].string_value = "x"
        return pb.SetContextRequest.FromString(made.SerializeToString())

    read = content.read_set_context
    one, two = (read(request(*keys), tenant=TENANT, limits=LIMITS).request for keys in ("abc", "cba"))
    assert one == two
