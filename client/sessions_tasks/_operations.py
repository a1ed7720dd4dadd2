"""The operations on sessions: the single table from which tools, their checks and their definitions are derived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

Schema: TypeAlias = dict[str, Any]
Effect: TypeAlias = Literal["reads", "adds", "changes", "erases"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of `system:` tools."""

    name: str
    """The value of `operation:`."""
    tool: str
    """The tool's name for models, unless the file gives another."""
    description: str
    effect: Effect
    arguments: Mapping[str, Schema]
    required: tuple[str, ...]
    any_of: tuple[tuple[str, ...], ...] = ()
    """Groups of arguments, one of which must be given, besides the required ones."""

    @property
    def writes(self) -> bool:
        """Whether it takes a request id."""
        return self.effect != "reads"

    @property
    def schema(self) -> Schema:
        """The JSON Schema of its arguments."""
        return {
            "type": "object",
            "properties": dict(self.arguments),
            "required": list(self.required),
            "additionalProperties": False,
        }


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _object(description: str) -> Schema:
    return {"type": "object", "description": description}


_STATES: Final = ("created", "active", "paused", "ended", "expired", "archived")
_ID: Final[Mapping[str, Schema]] = {"session_id": _text("The id of the session.")}
_ETAG: Final[Mapping[str, Schema]] = {
    "etag": _text("The etag that was read; the call fails when the data has changed since.")
}
_METADATA: Final[Mapping[str, Schema]] = {"metadata": _object("Searchable facts about the session.")}
_SPAN: Final[Schema] = {"type": "number", "exclusiveMinimum": 0}
_CONFIG: Final[Mapping[str, Schema]] = {
    "config": {
        "type": "object",
        "description": "How the session behaves.",
        "properties": {
            "timeout": {**_SPAN, "description": "Idle seconds after which the session expires."},
            "max_messages": {"type": "integer", "description": "How many messages the history holds."},
            "context_window": {"type": "integer", "description": "How many messages are read by default."},
            "overflow": {"type": "string", "enum": ["truncate_oldest", "reject"]},
        },
        "additionalProperties": False,
    }
}
_STORAGE: Final[Mapping[str, Schema]] = {
    "storage_options": {
        "type": "object",
        "description": "How the session is stored.",
        "properties": {
            "persistence": {"type": "string", "enum": ["permanent", "temporary"]},
            "encryption": {"type": "boolean", "description": "Encrypts context and messages at rest."},
            "ttl": {**_SPAN, "description": "Lifetime in seconds."},
            "expiry_action": {"type": "string", "enum": ["retain", "archive", "delete"]},
        },
        "additionalProperties": False,
    }
}
_FIND: Final[Mapping[str, Schema]] = {
    "user_id": _text("Only this user's sessions."),
    "status": {
        "description": "Only sessions in this state, or in one of these.",
        "anyOf": [
            {"type": "string", "enum": list(_STATES)},
            {"type": "array", "items": {"type": "string", "enum": list(_STATES)}},
        ],
    },
    "order_by": {
        "type": "string",
        "enum": ["create_time", "create_time desc", "update_time", "update_time desc"],
    },
    "page_size": {"type": "integer", "minimum": 1, "description": "How many at most; 1,000 is the limit."},
    "page_token": _text("The `next_page_token` of the page before."),
}
_MESSAGE: Final[Mapping[str, Schema]] = {
    "role": _text("Who speaks, such as `user` or `assistant`."),
    "content": _text("The text of the message."),
    "name": _text("The speaker's name."),
    "tool_call_id": _text("The call that a tool's message belongs to."),
    "data": _object("The provider's own form of the message."),
    "metadata": _object("Facts about the message."),
    "timestamp": _text("When it was said, RFC 3339."),
    "id": _text("An id of your own; the same id with the same content is stored once."),
}
_CHANGE: Final[Schema] = {
    "type": "object",
    "properties": {
        "path": _text("A dotted path such as `user_input.query`."),
        "set": {"description": "The new value."},
        "remove": {"type": "boolean"},
        "increment": {"type": "number"},
        "append": {"description": "A value for the end of the list."},
        "merge": _object("Keys to replace."),
    },
    "required": ["path"],
    "additionalProperties": False,
}


def _verb(name: str, description: str) -> Operation:
    return Operation(name, f"{name}_session", description, "changes", {**_ID, **_ETAG}, ("session_id",))


_ALL: Final = (
    Operation("get", "get_session", "Returns a session.", "reads", _ID, ("session_id",)),
    Operation("list", "list_sessions", "Lists sessions by user and state, one page.", "reads", _FIND, ()),
    Operation(
        "search",
        "search_sessions",
        "Finds sessions by their metadata, one page.",
        "reads",
        {
            "metadata_filter": _object(
                "Dotted metadata paths and the wanted values, or objects of operators such as `$gte`."
            ),
            **_FIND,
        },
        ("metadata_filter",),
    ),
    Operation(
        "create",
        "create_session",
        "Creates a session for a user.",
        "adds",
        {
            "user_id": _text("Whose session it is."),
            **_METADATA,
            **_CONFIG,
            **_STORAGE,
            "session_id": _text("An id of your own."),
            "if_exists": {"type": "string", "enum": ["fail", "return"]},
        },
        ("user_id",),
    ),
    Operation(
        "update",
        "update_session",
        "Merges keys into the session's context; replaces its metadata; changes its config.",
        "changes",
        {**_ID, "context": _object("Keys to merge into the context."), **_METADATA, **_CONFIG},
        ("session_id",),
        (("context",), ("metadata",), ("config",)),
    ),
    Operation(
        "delete", "delete_session", "Erases a session for good.", "erases", {**_ID, **_ETAG}, ("session_id",)
    ),
    _verb("start", "Starts a new session."),
    _verb("pause", "Pauses an active session."),
    _verb("resume", "Resumes a paused session."),
    _verb("end", "Ends a session."),
    _verb("archive", "Archives a session, which is read-only from then on."),
    Operation(
        "get_context",
        "get_context",
        "Returns a session's context, or the value at one path of it.",
        "reads",
        {**_ID, "path": _text("A dotted path such as `user_input.query`.")},
        ("session_id",),
    ),
    Operation(
        "set_context",
        "set_context",
        "Replaces a session's whole context.",
        "erases",
        {**_ID, "context": _object("The new context."), **_ETAG},
        ("session_id", "context"),
    ),
    Operation(
        "update_context",
        "update_context",
        "Changes parts of a session's context: one value by `path` and `value`, keys by `context`, or `changes`.",
        "changes",
        {
            **_ID,
            "path": _text("A dotted path such as `user_input.query`."),
            "value": {"description": "The new value at the path."},
            "context": _object("Keys to merge into the context."),
            "changes": {"type": "array", "items": _CHANGE, "description": "Operations, all or none."},
            **_ETAG,
        },
        ("session_id",),
        (("path", "value"), ("context",), ("changes",)),
    ),
    Operation(
        "add_message",
        "add_message",
        "Appends a message to a session's history.",
        "adds",
        {**_ID, **_MESSAGE},
        ("session_id",),
        (("role",), ("data",)),
    ),
    Operation(
        "get_history",
        "get_history",
        "Returns the newest messages of a session, oldest first.",
        "reads",
        {
            **_ID,
            "limit": {"type": "integer", "minimum": 1, "description": "How many at most."},
            "before_sequence": {"type": "integer", "description": "Only messages before this one."},
            "after_sequence": {"type": "integer", "description": "Only messages after this one."},
        },
        ("session_id",),
    ),
    Operation(
        "clear_history", "clear_history", "Erases all messages of a session.", "erases", _ID, ("session_id",)
    ),
    Operation(
        "export",
        "export_session",
        "Returns a whole session in a form that can be imported.",
        "reads",
        _ID,
        ("session_id",),
    ),
    Operation(
        "import",
        "import_session",
        "Makes a session what an export says.",
        "erases",
        {
            **_ID,
            "session_data": _object("What an export returned."),
            "if_exists": {"type": "string", "enum": ["fail", "replace"]},
        },
        ("session_id", "session_data"),
    ),
)

OPERATIONS: Final[Mapping[str, Operation]] = {each.name: each for each in _ALL}
TOOLS: Final[Mapping[str, Operation]] = {each.tool: each for each in _ALL}
