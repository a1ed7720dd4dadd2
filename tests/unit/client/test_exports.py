"""The public names of the package."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.resources import files
from typing import get_type_hints

import pytest

import sessions_client
from sessions_client import (
    AsyncSessions,
    AsyncSubscription,
    Event,
    Message,
    Session,
    SessionConfig,
    Sessions,
    StateChangeData,
    StorageOptions,
    Subscription,
)

PUBLIC = [
    "LEFT_OUT",
    "TLS",
    "Abandon",
    "Aborted",
    "AlreadyExists",
    "Append",
    "AsyncClient",
    "AsyncDraft",
    "AsyncPage",
    "AsyncPager",
    "AsyncPipeline",
    "AsyncRecords",
    "AsyncSessions",
    "AsyncSubscription",
    "Change",
    "ChangeDict",
    "Client",
    "Code",
    "CommitResult",
    "Context",
    "ContextChangeData",
    "CreatedData",
    "DataLoss",
    "DeadlineExceeded",
    "DeletedData",
    "Draft",
    "DraftState",
    "DraftUpdate",
    "Event",
    "EventData",
    "EventType",
    "ExpiryAction",
    "FailedPrecondition",
    "ForkedFrom",
    "History",
    "HistoryClearedData",
    "HistoryTruncatedData",
    "HistoryWindow",
    "IfExists",
    "ImportedData",
    "Increment",
    "InvalidArgument",
    "LeftOut",
    "Merge",
    "Message",
    "MessageDict",
    "MessageErasedData",
    "NotFound",
    "OutOfRange",
    "Overflow",
    "Page",
    "Pager",
    "PermissionDenied",
    "Persistence",
    "Pipeline",
    "Record",
    "RecordChange",
    "RecordList",
    "RecordName",
    "RecordResult",
    "Records",
    "RecordsChangeData",
    "Remove",
    "Removed",
    "ResourceExhausted",
    "Scope",
    "Session",
    "SessionConfig",
    "SessionConfigDict",
    "SessionData",
    "SessionState",
    "Sessions",
    "SessionsError",
    "Set",
    "StateChangeData",
    "StateChangeReason",
    "StorageOptions",
    "StorageOptionsDict",
    "StreamState",
    "StreamStatus",
    "Subscription",
    "Unauthenticated",
    "Unavailable",
    "UpdatedData",
    "Violation",
    "ops",
]

METHODS = [
    "add_message",
    "add_messages",
    "archive",
    "clear_history",
    "commit",
    "create",
    "delete",
    "draft",
    "end",
    "export",
    "fork",
    "get",
    "get_context",
    "get_history",
    "get_message",
    "import_",
    "list",
    "pause",
    "pop_message",
    "read",
    "resume",
    "search",
    "set_context",
    "start",
    "subscribe",
    "truncate_history",
    "update",
    "update_context",
]


def public(cls: type) -> list[str]:
    return sorted(name for name in dir(cls) if not name.startswith("_"))


def test_the_public_names_are_these_and_no_others() -> None:
    assert sessions_client.__all__ == PUBLIC
    assert dir(sessions_client) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(sessions_client, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nobody'"):
        _ = sessions_client.Nobody  # type: ignore[attr-defined]  # that is the test


def test_everything_public_has_a_docstring() -> None:
    for name in set(PUBLIC) - {"Change", "EventData"}:
        assert inspect.getdoc(getattr(sessions_client, name)), name
    for name in METHODS:
        assert inspect.getdoc(getattr(AsyncSessions, name)), name


@pytest.mark.parametrize("model", [Session, SessionConfig, StorageOptions, Message, Event, StateChangeData])
def test_the_types_of_a_models_fields_can_be_read_at_run_time(model: type) -> None:
    assert get_type_hints(model)


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    assert public(AsyncSessions) == public(Sessions) == METHODS
    assert (
        public(AsyncSubscription)
        == public(Subscription)
        == [
            "close",
            "closed",
            "connection",
            "log_id",
            "next",
            "position",
            "wait",
        ]
    )
    for name in METHODS:
        assert list(inspect.signature(getattr(AsyncSessions, name)).parameters) == list(
            inspect.signature(getattr(Sessions, name)).parameters
        )


def test_the_package_says_that_it_is_typed() -> None:
    assert (files(sessions_client) / "py.typed").is_file()


def test_the_package_alone_imports_no_grpc_and_each_client_only_its_own() -> None:
    program = """
import sys
import sessions_client
assert "grpc" not in sys.modules and "google.protobuf" not in sys.modules
sessions_client.{name}
assert "sessions_client.{other}" not in sys.modules, "{other}"
"""
    for name, other in (("Client", "_async"), ("AsyncClient", "_sync")):
        subprocess.run([sys.executable, "-c", program.format(name=name, other=other)], check=True)
