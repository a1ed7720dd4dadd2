"""What the protos have and the code does not convert yet. A change that converts something takes it out of here."""

from __future__ import annotations

FIELDS: dict[str, set[str]] = {
    "Session": {"forked_from"},
    "Message": {"payload", "payload_type"},
    "CreatedEvent": {"forked_from"},
    "ContextChangeEvent": {"changes", "changes_omitted"},
    "UpdatedEvent": {"session"},
    "Event": {"history_truncated", "records_change", "message_erased"},
    "ExportRecord": {"records"},
    "GetSessionRequest": {"at_sequence"},
    "GetContextRequest": {"at_sequence"},
    "GetHistoryRequest": {"at_sequence", "window"},
    "SetContextRequest": {"forget_past"},
    "UpdateContextRequest": {"forget_past"},
    "SubscribeRequest": {"include_changes", "log_id"},
}
"""Fields by message, on the server."""
