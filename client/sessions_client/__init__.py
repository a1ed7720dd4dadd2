"""The Python client of the session service.

    from sessions_client import Client

    client = Client("127.0.0.1:50051")
    session = client.sessions.create(user_id="u1", metadata={"device": "web"}, config={"timeout": 3600})

`AsyncClient` has the same methods as coroutines. Everything public is listed here; the modules are private.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessions_client import ops
    from sessions_client._async._client import AsyncClient
    from sessions_client._async._drafts import AsyncDraft
    from sessions_client._async._pager import AsyncPage, AsyncPager
    from sessions_client._async._pipeline import AsyncPipeline
    from sessions_client._async._records import AsyncRecords
    from sessions_client._async._sessions import AsyncSessions
    from sessions_client._async._subscription import AsyncSubscription
    from sessions_client._changes import Append, Change, ChangeDict, Increment, Merge, Remove, Set
    from sessions_client._commits import LEFT_OUT, CommitResult, LeftOut, Removed
    from sessions_client._drafts import Abandon, DraftState, DraftUpdate
    from sessions_client._errors import (
        Aborted,
        AlreadyExists,
        DataLoss,
        DeadlineExceeded,
        FailedPrecondition,
        InvalidArgument,
        NotFound,
        OutOfRange,
        PermissionDenied,
        ResourceExhausted,
        SessionsError,
        Unauthenticated,
        Unavailable,
        Violation,
    )
    from sessions_client._events import (
        ContextChangeData,
        CreatedData,
        DeletedData,
        Event,
        EventData,
        HistoryClearedData,
        HistoryTruncatedData,
        ImportedData,
        MessageErasedData,
        RecordChange,
        RecordsChangeData,
        StateChangeData,
        UpdatedData,
    )
    from sessions_client._follow import StreamState, StreamStatus
    from sessions_client._models import (
        Context,
        EventType,
        ExpiryAction,
        ForkedFrom,
        History,
        HistoryWindow,
        IfExists,
        Message,
        MessageDict,
        Overflow,
        Persistence,
        Session,
        SessionConfig,
        SessionConfigDict,
        SessionState,
        StateChangeReason,
        StorageOptions,
        StorageOptionsDict,
    )
    from sessions_client._records import Record, RecordList, RecordName, RecordResult, Scope
    from sessions_client._session_data import SessionData
    from sessions_client._sync._client import Client
    from sessions_client._sync._drafts import Draft
    from sessions_client._sync._pager import Page, Pager
    from sessions_client._sync._pipeline import Pipeline
    from sessions_client._sync._records import Records
    from sessions_client._sync._sessions import Sessions
    from sessions_client._sync._subscription import Subscription
    from sessions_client._tls import TLS
    from sessions_client._transport import Code

__all__ = [
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

_MODULES = {
    "_async._client": ("AsyncClient",),
    "_async._drafts": ("AsyncDraft",),
    "_async._pager": (
        "AsyncPage",
        "AsyncPager",
    ),
    "_async._pipeline": ("AsyncPipeline",),
    "_async._records": ("AsyncRecords",),
    "_async._sessions": ("AsyncSessions",),
    "_async._subscription": ("AsyncSubscription",),
    "_changes": (
        "Append",
        "Change",
        "ChangeDict",
        "Increment",
        "Merge",
        "Remove",
        "Set",
    ),
    "_commits": (
        "CommitResult",
        "LEFT_OUT",
        "LeftOut",
        "Removed",
    ),
    "_drafts": (
        "Abandon",
        "DraftState",
        "DraftUpdate",
    ),
    "_errors": (
        "Aborted",
        "AlreadyExists",
        "DataLoss",
        "DeadlineExceeded",
        "FailedPrecondition",
        "InvalidArgument",
        "NotFound",
        "OutOfRange",
        "PermissionDenied",
        "ResourceExhausted",
        "SessionsError",
        "Unauthenticated",
        "Unavailable",
        "Violation",
    ),
    "_events": (
        "ContextChangeData",
        "CreatedData",
        "DeletedData",
        "Event",
        "EventData",
        "HistoryClearedData",
        "HistoryTruncatedData",
        "ImportedData",
        "MessageErasedData",
        "RecordChange",
        "RecordsChangeData",
        "StateChangeData",
        "UpdatedData",
    ),
    "_follow": (
        "StreamState",
        "StreamStatus",
    ),
    "_models": (
        "Context",
        "EventType",
        "ExpiryAction",
        "ForkedFrom",
        "History",
        "HistoryWindow",
        "IfExists",
        "Message",
        "MessageDict",
        "Overflow",
        "Persistence",
        "Session",
        "SessionConfig",
        "SessionConfigDict",
        "SessionState",
        "StateChangeReason",
        "StorageOptions",
        "StorageOptionsDict",
    ),
    "_records": (
        "Record",
        "RecordList",
        "RecordName",
        "RecordResult",
        "Scope",
    ),
    "_session_data": ("SessionData",),
    "_sync._client": ("Client",),
    "_sync._drafts": ("Draft",),
    "_sync._pager": (
        "Page",
        "Pager",
    ),
    "_sync._pipeline": ("Pipeline",),
    "_sync._records": ("Records",),
    "_sync._sessions": ("Sessions",),
    "_sync._subscription": ("Subscription",),
    "_tls": ("TLS",),
    "_transport": ("Code",),
}
"""The module of each public name, imported when the name is first used: most programs need only a few names, and
importing gRPC takes a tenth of a second."""

_HOMES = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # otherwise a type checker would accept any name

    def __getattr__(name: str) -> Any:
        if name == "ops":
            return import_module("sessions_client.ops")
        if name not in _HOMES:
            raise AttributeError(f"module 'sessions_client' has no attribute {name!r}")
        value = getattr(import_module(f"sessions_client.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
