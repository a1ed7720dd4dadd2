"""All refusals, described from the caller's point of view.

    DomainError
     +-- InvalidRequest          the request itself is wrong, whatever the session's state
     +-- MalformedRequest        the request's bytes are not a message of its type
     +-- Unauthenticated         the credential is missing or not valid
     +-- PermissionDenied        the credential does not allow this
     +-- SessionNotFound         no such session for this tenant
     +-- RecordNotFound          no such record for this tenant
     +-- DraftNotFound           no such draft in this process
     +-- SessionExists           the chosen session id is taken
     +-- MessageExists           the chosen message id has other content
     +-- InvalidState            the session's state does not allow this
     +-- PathConflict            a context path does not fit the context
     +-- EtagMismatch            the resource changed since it was read
     +-- RequestIdReused         the request id was used for something else
     +-- CursorAhead             the position is after the log's end
     +-- EventsCompacted         the position is before the log's start
     +-- LogReplaced             the position belongs to another log of the session
     +-- LimitExceeded           a size or count is over its limit
     +-- HistoryFull             the history holds max_messages and rejects more
     +-- StorageFull             the disk is full
     +-- TooManyStreams          the caller or the server has too many open streams
     +-- EncryptionNotConfigured the server has no keyring
     +-- KeyNotAvailable         the keyring lacks the session's key
     +-- DataCorrupted           stored data does not authenticate
     +-- Unavailable             the store cannot be reached for now
     |    +-- SessionLocked      another transaction held the session for too long
     |    +-- StillErasing       what was stored under this id before is still being erased
     |    +-- ImportUnderWay     a session is being imported under this id
     |    +-- ImportCutShort     an import stopped for so long that its rows were released
     |    +-- StreamAged         the stream reached its maximum age; open it again
     +-- ShuttingDown            the server is stopping

Each class carries its `reason`; the status code belongs to the transport.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar, NamedTuple


class Reason(StrEnum):
    """The names of the wire's ErrorReason values, without the prefix."""

    INVALID_REQUEST = "INVALID_REQUEST"
    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    SESSION_NOT_FOUND = "SESSION_NOT_FOUND"
    SESSION_ALREADY_EXISTS = "SESSION_ALREADY_EXISTS"
    MESSAGE_ALREADY_EXISTS = "MESSAGE_ALREADY_EXISTS"
    INVALID_STATE = "INVALID_STATE"
    PATH_CONFLICT = "PATH_CONFLICT"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    CURSOR_AHEAD = "CURSOR_AHEAD"
    EVENTS_COMPACTED = "EVENTS_COMPACTED"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    HISTORY_FULL = "HISTORY_FULL"
    STORAGE_FULL = "STORAGE_FULL"
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    ENCRYPTION_NOT_CONFIGURED = "ENCRYPTION_NOT_CONFIGURED"
    KEY_NOT_AVAILABLE = "KEY_NOT_AVAILABLE"
    DATA_CORRUPTED = "DATA_CORRUPTED"
    UNAVAILABLE = "UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    INTERNAL = "INTERNAL"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    LOG_REPLACED = "LOG_REPLACED"
    RECORD_NOT_FOUND = "RECORD_NOT_FOUND"
    DRAFT_NOT_FOUND = "DRAFT_NOT_FOUND"


class DomainError(Exception):
    """A refusal: a sentence for the caller, a reason for programs, and details as metadata."""

    reason: ClassVar[Reason] = Reason.INTERNAL
    offset = 0
    """The index of the operation at fault within a run."""

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata


class Violation(NamedTuple):
    """One fault in a request: the field's path and a sentence."""

    field: str
    description: str


class InvalidRequest(DomainError):
    """Carries every violation, not only the first."""

    reason = Reason.INVALID_REQUEST

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        *others, last = (f"{field}: {text}" for field, text in self.violations)
        super().__init__("; ".join([*(each.removesuffix(".") for each in others), last]))


class MalformedRequest(DomainError):
    reason = Reason.MALFORMED_REQUEST


class Unauthenticated(DomainError):
    reason = Reason.UNAUTHENTICATED


class PermissionDenied(DomainError):
    reason = Reason.PERMISSION_DENIED


class SessionNotFound(DomainError):
    """Identical for a missing, a deleted and another tenant's session: it never includes the id."""

    reason = Reason.SESSION_NOT_FOUND

    def __init__(self) -> None:
        super().__init__("There is no such session; check session_id, or create the session first.")


class RecordNotFound(DomainError):
    """Identical for a missing, an expired and another tenant's record: it never includes the name."""

    reason = Reason.RECORD_NOT_FOUND

    def __init__(self) -> None:
        super().__init__("There is no such record; check its scope, collection and key, or write it first.")


class DraftNotFound(DomainError):
    reason = Reason.DRAFT_NOT_FOUND

    def __init__(self) -> None:
        super().__init__(
            "This server has no such draft. Write it again from its beginning, or give the whole text in "
            "message.content."
        )


class SessionExists(DomainError):
    reason = Reason.SESSION_ALREADY_EXISTS


class MessageExists(DomainError):
    reason = Reason.MESSAGE_ALREADY_EXISTS


class InvalidState(DomainError):
    reason = Reason.INVALID_STATE


class PathConflict(DomainError):
    reason = Reason.PATH_CONFLICT


class EtagMismatch(DomainError):
    """A condition does not hold; the metadata has the current value."""

    reason = Reason.ETAG_MISMATCH

    def __init__(
        self, current_etag: str | None = None, *, current_sequence: str = "", text: str = ""
    ) -> None:
        what = "sequence" if current_sequence else "etag"
        super().__init__(
            text
            or f"The resource has changed since this {what} was read; read it again and retry with its new {what}."
        )
        if current_etag is not None:
            self.metadata["current_etag"] = current_etag
        if current_sequence:
            self.metadata["current_sequence"] = current_sequence


class RequestIdReused(DomainError):
    reason = Reason.REQUEST_ID_REUSED


class CursorAhead(DomainError):
    reason = Reason.CURSOR_AHEAD


class EventsCompacted(DomainError):
    reason = Reason.EVENTS_COMPACTED


class LogReplaced(DomainError):
    """At the position the log has a different event than the log of the given log_id; `current` is the log's
    identity."""

    reason = Reason.LOG_REPLACED

    def __init__(self, current: str) -> None:
        super().__init__(
            "This position belongs to another log: the session was deleted and created again, or its last events were "
            "lost in a failover or a restore of the database; read it again and subscribe from its last_sequence.",
            log_id=current,
        )


class LimitExceeded(DomainError):
    reason = Reason.LIMIT_EXCEEDED

    @classmethod
    def of_field(cls, field: str, sentence: str) -> LimitExceeded:
        """A field of the request is too large; the sentence is about the field, as in a Violation."""
        return cls(f"{field}: {sentence}", field=field)


class HistoryFull(DomainError):
    reason = Reason.HISTORY_FULL


class StorageFull(DomainError):
    reason = Reason.STORAGE_FULL


class TooManyStreams(DomainError):
    reason = Reason.TOO_MANY_STREAMS


class EncryptionNotConfigured(DomainError):
    reason = Reason.ENCRYPTION_NOT_CONFIGURED

    def __init__(self) -> None:
        super().__init__(
            "This server has no keyring, so it cannot encrypt a session; set SESSIONS_KEYRING to a keyring made with "
            "`sessions-server keyring new`, or create the session without encryption."
        )


class KeyNotAvailable(DomainError):
    reason = Reason.KEY_NOT_AVAILABLE


class DataCorrupted(DomainError):
    reason = Reason.DATA_CORRUPTED


class Unavailable(DomainError):
    reason = Reason.UNAVAILABLE


class SessionLocked(Unavailable):
    """Another transaction held a session longer than this one waits."""


class StillErasing(Unavailable):
    """A large session with this id was deleted, or an import of it was given up, a moment ago."""

    def __init__(self) -> None:
        super().__init__(
            "What was stored under this session_id before is still being erased; try again with the same request_id, "
            "or choose another session_id."
        )


class ImportUnderWay(Unavailable):
    """A session is being imported under this id. It is not visible yet, and one that it replaces can only be read."""

    def __init__(self) -> None:
        super().__init__(
            "A session is being imported under this session_id; try again with the same request_id, or choose another "
            "session_id."
        )


class ImportCutShort(Unavailable):
    """An import stopped for longer than its lease, and its rows are being erased."""

    def __init__(self) -> None:
        super().__init__(
            "The import was interrupted for too long and nothing of it was kept; import the session again."
        )


class StreamAged(Unavailable):
    """A stream reached its maximum age and has to be opened again."""


class ShuttingDown(DomainError):
    reason = Reason.SHUTTING_DOWN


class SetupError(Exception):
    """An operator's file, setting or database cannot be used. The text says what to do."""
