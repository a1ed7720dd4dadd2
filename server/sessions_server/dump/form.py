"""The lines of an export file: each record as JSON, under the names in the protos.

Clients write and read the same lines, so any program can import what another has exported. Times are RFC 3339,
durations are seconds such as `3600s`, bytes are base64, enums are their names, and absent or empty values are left out.
Next to a session's header its internal fields are under `moved`, which other readers ignore.

Records written by the first release start with `[` and can still be read.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.models import (
    BODY_BYTES,
    BODY_TEXTS,
    OPTIONAL_TIMES,
    SECOND,
    ClaimedTime,
    ExpiryAction,
    ForkedFrom,
    Message,
    MessageBody,
    Micros,
    Overflow,
    Persistence,
    Sequence,
    Session,
    SessionConfig,
    SessionKey,
    State,
    StateReason,
    StorageOptions,
)
from sessions_server.domain.records import Record, RecordName, Scope
from sessions_server.domain.transfer import (
    ContextRecord,
    ExportRecord,
    Footer,
    Header,
    MessagesRecord,
    RecordsPart,
    ScopeHeader,
    decode_record,
)

if TYPE_CHECKING:
    from enum import StrEnum

    from sessions_server.domain.models import JsonObject

E = TypeVar("E", bound="StrEnum")

FORMAT: Final = "sessions.v1.export"
"""The format named in a file's first line."""

DEFAULT_TENANT: Final = "default"
"""The tenant of a session whose file names none, because a client wrote it."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NANOS: Final = 10**9


def _names(prefix: str, kind: type[E]) -> dict[str, E]:
    """The values of an enum by their names in the protos."""
    return {prefix + value.name: value for value in kind}


_STATES: Final = _names("SESSION_STATE_", State)
_OVERFLOWS: Final = _names("OVERFLOW_", Overflow)
_PERSISTENCES: Final = _names("PERSISTENCE_", Persistence)
_ACTIONS: Final = _names("EXPIRY_ACTION_", ExpiryAction)


def beginnings(*kinds: str) -> tuple[bytes, ...]:
    """How lines of these kinds begin, for `bytes.startswith`."""
    names = [kind.encode() for kind in kinds]
    return (*(b'{"%b"' % name for name in names), *(b'["%b"' % name.replace(b"_", b"-") for name in names))


def line_of(kind: str, value: Any) -> bytes:
    """A line without its newline."""
    return dumps({kind: value})


def value_of(line: bytes) -> Any:
    """The value of a line with a single value; in the first release's format, everything after the kind."""
    found = loads(line)
    if isinstance(found, dict):
        [value] = found.values()
        return value
    return found[1] if len(found) == 2 else found[1:]


def write(record: ExportRecord) -> bytes:
    """The line of a record, without its newline."""
    match record:
        case Header(version, session, export_time):
            header: JsonObject = {
                "version": version,
                "session": _session(session),
                "export_time": _time(export_time),
            }
            return dumps({"header": header, "moved": _moved(session)})
        case ContextRecord(data):
            return line_of("context", {"data": data})
        case MessagesRecord(messages):
            return line_of("messages", {"messages": [_message(message) for message in messages]})
        case RecordsPart(records):
            return line_of("records", {"records": [_record(each) for each in records]})
        case ScopeHeader(scope):
            return line_of("scope", _present(tenant=scope.tenant, user_id=scope.user_id))
        case Footer(message_count, record_count, sha256):
            counts = _present(message_count=message_count, record_count=record_count)
            return line_of("footer", counts | _present(sha256=_bytes(sha256)))


def read(line: bytes) -> ExportRecord:
    """The record of a line. Raises ValueError, KeyError, TypeError, AttributeError, OverflowError for anything else."""
    if line.startswith(b"["):
        return decode_record(line)
    found: dict[str, Any] = loads(line)
    kind, value = next(iter(found.items()))
    match kind:
        case "header":
            session = _read_session(value["session"], found.get("moved", {}))
            return Header(value["version"], session, _read_time(value["export_time"]))
        case "context":
            return ContextRecord(value.get("data", {}))
        case "messages":
            return MessagesRecord(tuple(map(_read_message, value["messages"])))
        case "records":
            return RecordsPart(tuple(map(_read_record, value["records"])))
        case "scope":
            return ScopeHeader(Scope(value["tenant"], user_id=value.get("user_id", "")))
        case "footer":
            digest = b64decode(value.get("sha256", ""), validate=True)
            return Footer(value.get("message_count", 0), value.get("record_count", 0), digest)
        case _:
            raise ValueError("not a record that this module wrote")


def _session(session: Session) -> JsonObject:
    config, storage, origin = session.config, session.storage, session.forked_from
    return _present(
        id=session.key.session_id,
        user_id=session.user_id,
        state=_name("SESSION_STATE_", session.state),
        message_count=session.message_count,
        last_sequence=session.last_sequence,
        etag=str(session.revision),
        create_time=_time(session.create_time),
        update_time=_time(session.update_time),
        **{name: _time(getattr(session, name)) for name in OPTIONAL_TIMES},
        expire_time=_time(session.expire_time),
    ) | {
        "metadata": session.metadata,
        "config": _present(
            timeout=_span(config.timeout),
            max_messages=config.max_messages,
            context_window=config.context_window,
            overflow=_name("OVERFLOW_", config.overflow),
        ),
        "storage_options": _present(
            persistence=_name("PERSISTENCE_", storage.persistence),
            encryption=storage.encryption,
            ttl=_span(storage.ttl),
            expiry_action=_name("EXPIRY_ACTION_", storage.expiry_action),
        ),
        **({} if origin is None else {"forked_from": dict(origin._asdict())}),
    }


def _moved(session: Session) -> JsonObject:
    return _present(
        tenant=session.key.tenant,
        active_time=_time(session.active_time),
        expiry_reason=session.expiry_reason,
    )


def _read_session(raw: dict[str, Any], moved: dict[str, Any]) -> Session:
    config, storage = raw["config"], raw["storage_options"]
    state = _STATES[raw["state"]]
    update_time, origin = _read_time(raw["update_time"]), raw.get("forked_from")
    times: dict[str, Any] = {name: _read_optional_time(raw.get(name)) for name in OPTIONAL_TIMES}
    reason = moved.get("expiry_reason", StateReason.IDLE_TIMEOUT if state is State.EXPIRED else None)
    session = Session(
        key=SessionKey(moved.get("tenant", DEFAULT_TENANT), raw["id"]),
        user_id=raw["user_id"],
        state=state,
        metadata=raw.get("metadata", {}),
        config=SessionConfig(
            _read_span(config.get("timeout")),
            config.get("max_messages", 0),
            config.get("context_window", 0),
            _OVERFLOWS[config["overflow"]],
        ),
        storage=StorageOptions(
            _PERSISTENCES[storage["persistence"]],
            storage.get("encryption", False),
            _read_span(storage.get("ttl")),
            _ACTIONS[storage["expiry_action"]],
        ),
        message_count=raw.get("message_count", 0),
        last_sequence=raw.get("last_sequence", 0),
        revision=Sequence(int(raw["etag"])),
        history_start=Sequence(0),
        log_start=Sequence(0),
        create_time=_read_time(raw["create_time"]),
        update_time=update_time,
        active_time=_read_optional_time(moved.get("active_time")) or update_time,
        expiry_reason=None if reason is None else StateReason(reason),
        forked_from=None if origin is None else ForkedFrom(origin["session_id"], origin["sequence"]),
        **times,
    )
    _time(session.expire_time)  # must be a valid time too, or lists could not show it
    return session


def _message(message: Message) -> JsonObject:
    body = message.body
    texts = {name: text for name in BODY_TEXTS if (text := getattr(body, name))}
    encoded = {name: _bytes(getattr(body, name)) for name in BODY_BYTES}
    objects = {name: value for name in ("data", "metadata") if (value := getattr(body, name)) is not None}
    return {
        "id": message.id,
        "sequence": message.sequence,
        **texts,
        **objects,
        **_present(**encoded, timestamp=_claimed(body.timestamp)),
        "create_time": _time(message.create_time),
    }


def _read_message(raw: dict[str, Any]) -> Message:
    id_, sequence, time = raw.pop("id"), raw.pop("sequence"), _read_time(raw.pop("create_time"))
    for name in raw.keys() & BODY_BYTES:
        raw[name] = b64decode(raw[name], validate=True)
    if "timestamp" in raw:
        raw["timestamp"] = _read_claimed(raw["timestamp"])
    return Message(id_, sequence, time, MessageBody(**raw))


def _record(record: Record) -> JsonObject:
    name = record.name
    return _present(
        value=_bytes(record.value),
        value_type=record.value_type,
        time=_time(record.time),
        ttl=_span(record.ttl),
        etag=record.etag,
        create_time=_time(record.create_time),
        update_time=_time(record.update_time),
        expire_time=_time(record.expire_time),
    ) | {"name": _record_name(name), "labels": record.labels}


def _record_name(name: RecordName) -> JsonObject:
    named: JsonObject = {"collection": [*name.collection], "key": name.key}
    if name.scope.session_id:
        named["scope"] = {"session_id": name.scope.session_id}
    return named


def _read_record(raw: dict[str, Any]) -> Record:
    name, ttl, expires = raw["name"], raw.get("ttl"), raw.get("expire_time")
    scope = Scope("", name.get("scope", {}).get("session_id", ""))
    return Record(
        RecordName(scope, tuple(name["collection"]), name["key"]),
        b64decode(raw.get("value", ""), validate=True),
        raw.get("value_type", ""),
        raw.get("labels", {}),
        _read_time(raw["time"]),
        _read_span(ttl),
        raw["etag"],
        _read_time(raw["create_time"]),
        _read_time(raw["update_time"]),
        _read_optional_time(expires),
    )


def _present(**values: Any) -> JsonObject:
    """The values that are neither absent nor empty."""
    return {name: value for name, value in values.items() if value}


def _bytes(value: bytes) -> str:
    return b64encode(value).decode()


def _name(prefix: str, value: StrEnum) -> str:
    return prefix + value.name


def _time(instant: Micros | None) -> str | None:
    if instant is None:
        return None
    return f"{(_EPOCH + timedelta(microseconds=instant)).isoformat()[:-6]}Z"


def _read_time(text: str) -> Micros:
    if not text.endswith("Z"):
        raise ValueError("a time is in UTC")
    since = datetime.fromisoformat(text) - _EPOCH
    return Micros((since.days * 86_400 + since.seconds) * SECOND + since.microseconds)


def _read_optional_time(text: str | None) -> Micros | None:
    return None if text is None else _read_time(text)


def _claimed(stamp: ClaimedTime | None) -> str | None:
    if stamp is None:
        return None
    whole = (_EPOCH + timedelta(seconds=stamp.seconds)).isoformat()[:-6]
    return f"{whole}.{stamp.nanos:09}Z" if stamp.nanos else f"{whole}Z"


def _read_claimed(text: str) -> ClaimedTime:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = _read_time(f"{whole}Z") // SECOND
    return ClaimedTime(seconds, int(fraction.ljust(9, "0")[:9]) if fraction else 0)


def _span(span: Micros | None) -> str | None:
    if span is None:
        return None
    seconds, micros = divmod(span, SECOND)
    return f"{seconds}.{micros:06}s" if micros else f"{seconds}s"


def _read_span(text: str | None) -> Micros | None:
    if text is None:
        return None
    seconds, _, fraction = text.removesuffix("s").partition(".")
    return Micros(int(seconds) * SECOND + (int(fraction.ljust(6, "0")[:6]) if fraction else 0))
