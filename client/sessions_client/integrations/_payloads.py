"""Values of any size in messages: one that is too large for a message is stored in records, which the message
references.

The records are written before the commit that references them. If a caller dies in between, unreferenced records remain
until their session is deleted. The commit has a condition, because another caller may clear the history in between, and
the records with it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sessions_client import Aborted, DataLoss, NotFound, RecordName, Scope, SessionsError, ops

if TYPE_CHECKING:
    from sessions_client import AsyncClient, CommitResult, Message, Record

JSON: Final = "application/json"
CHUNKED: Final = "application/vnd.sessions.chunks+json"
COLLECTION: Final = ("payloads",)

COMMIT_BYTES: Final = 3 * 1024 * 1024
"""The maximum total size of messages in one commit: a request is limited to 4 MiB."""
MESSAGE_BYTES: Final = 200
"""The size of a message besides its payload and text."""
CHUNK_BYTES: Final = 2 * 1024 * 1024
"""The size of one record's value, so that one fits into a request and into a response."""
_LONGEST_NAME: Final = 64
_WHITESPACE: Final = " \t\n\r"
_read_json: Final = json.JSONDecoder().raw_decode
"""For a value of a few bytes, `json.loads` takes three times as long."""
_PAGE_MESSAGES: Final = 1_000
_PAGE_BYTES: Final = 512 * 1024
"""A smaller history fits into one page."""

T = TypeVar("T")


class PartMissing(DataLoss):
    """A record that a message references is missing, possibly because the message was removed in between."""

    def __init__(self, name: RecordName) -> None:
        super().__init__(
            f"Record {name.key!r} of collection {'/'.join(name.collection)!r}, which holds a part of a message, is "
            "missing. Such records are deleted with their messages; delete none of them alone."
        )
        self.name = name


@dataclass(frozen=True, slots=True)
class Packed:
    """A value as stored in its message."""

    payload: bytes
    payload_type: str
    chunks: tuple[tuple[RecordName, bytes], ...] = ()
    """Records to write before the message."""


def dump(value: Any) -> bytes:
    """Lossless JSON: keeps the order of keys and integers of any size; without whitespace."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def load(payload: bytes) -> Any:
    """Restores what `dump` was given."""
    text = payload.decode("utf-8", "surrogatepass").strip(_WHITESPACE)
    value, end = _read_json(text)
    if end < len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def load_all(records: Iterable[Record]) -> list[Any]:
    """The same for the value of each record, in about half the time."""
    values: list[Any] = load(b"[" + b",".join([record.value for record in records]) + b"]")
    return values


def pack(
    session_id: str,
    values: Sequence[bytes],
    *,
    other_bytes: int = 0,
    collection: tuple[str, ...] = COLLECTION,
) -> list[Packed]:
    """Fits values into one commit: the largest are moved to records of the collection until the rest fits.

    `other_bytes` is the size of the text in the commit besides the values.
    """
    total = sum(len(value) + MESSAGE_BYTES for value in values) + other_bytes
    outside: set[int] = set()
    for index in sorted(range(len(values)), key=lambda each: -len(values[each])):
        if total <= COMMIT_BYTES:
            break
        outside.add(index)
        total -= len(values[index])
    return [
        _chunked(session_id, value, collection) if index in outside else Packed(value, JSON)
        for index, value in enumerate(values)
    ]


async def commit(
    client: AsyncClient,
    session_id: str,
    values: Sequence[bytes],
    shown: Sequence[Mapping[str, Any]],
    *,
    create: ops.NewSession | None,
    before: Sequence[ops.Operation] = (),
    after: Sequence[ops.Operation] = (),
    conditions: Sequence[ops.Condition] = (),
) -> CommitResult:
    """Appends messages in one commit, between other operations, after writing what is too large for it.

    Each message has a value as its payload; `shown` has what other readers see, as arguments of `ops.append`. Raises
    Aborted if one of the conditions fails, or if the chunks were deleted twice before the commit.
    """
    other_bytes = sum(len(text.encode()) for fields in shown for text in fields.values())
    packed = pack(session_id, values, other_bytes=other_bytes)
    appends = [
        ops.append(payload=each.payload, payload_type=each.payload_type, **fields)
        for fields, each in zip(shown, packed, strict=True)
    ]

    async def attempt() -> CommitResult:
        await write_chunks(client, session_id, create, packed)
        return await client.sessions.commit(
            session_id,
            *(*before, *appends, *after),
            create=create,
            conditions=[*conditions, *chunks_present(packed)],
        )

    try:
        return await attempt()
    except Aborted as refused:
        if refused.metadata.get("condition") != str(len(conditions)):
            raise
    return await attempt()


async def write_chunks(
    client: AsyncClient, session_id: str, create: ops.NewSession | None, packed: Sequence[Packed]
) -> None:
    """Writes the records that messages will reference, and creates the session if needed."""
    for each in packed:
        for name, value in each.chunks:
            await client.sessions.commit(session_id, ops.put(name, value), create=create)


def chunks_present(packed: Sequence[Packed]) -> list[ops.Condition]:
    """A condition that nobody has deleted the chunks since `write_chunks` began; empty if there are none.

    Unreferenced chunks are only deleted together with all others of their collection, so checking the chunk written
    first is enough.
    """
    written = [name for each in packed for name, _ in each.chunks]
    return [ops.if_record(name, present=True) for name in written[:1]]


async def history(client: AsyncClient, session_id: str, *, limit: int) -> Sequence[Message]:
    """A consistent read of the newest messages. Raises NotFound.

    A large history is read in pages, the newest first. If messages were removed in between, it is read again: removing
    any of them removes the newest."""
    while True:
        messages = await client.sessions.get_history(session_id, limit=limit)
        size = sum(len(message.payload) + len(message.content) for message in messages)
        if len(messages) < _PAGE_MESSAGES and size < _PAGE_BYTES:
            return messages
        (newest,) = await client.sessions.read(ops.read_message(session_id, messages[-1].id))
        if newest is not None and newest.sequence == messages[-1].sequence:
            return messages


async def read_with_parts(read: Callable[[], Awaitable[T]]) -> T:
    """The result of `read`, which reads messages and then the records that they reference. Reads again if a message was
    removed in between.

    Raises PartMissing if the same record is missing again although its message still exists."""
    missing: set[RecordName] = set()
    while True:
        try:
            return await read()
        except PartMissing as error:
            if error.name in missing:
                raise
            missing.add(error.name)


async def unpack(client: AsyncClient, session_id: str, messages: Sequence[Message]) -> list[bytes]:
    """The values of messages, from their payloads or records. Raises PartMissing."""
    return [
        await value_of(
            client, message.payload, chunk_names(session_id, message.payload, message.payload_type)
        )
        for message in messages
    ]


def deletion(session_id: str) -> ops.Operation:
    """Deletes the records of all messages."""
    return ops.delete(RecordName(Scope(session_id=session_id), COLLECTION), prefix=True)


def readable(text: str, count: int) -> str:
    """The text that one of `count` messages shows to other readers: all of it, or nothing if it is long or not Unicode.

    Together the messages show at most 1 MiB; the payloads have everything.
    """
    longest = min(64 * 1024, 1024 * 1024 // max(1, count))
    try:
        return text if len(text.encode()) <= longest else ""
    except UnicodeEncodeError:
        return ""


def names(**values: Any) -> dict[str, str]:
    """The values that a message can show as its role, name or call id."""
    return {
        key: value
        for key, value in values.items()
        if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_NAME
    }


async def delete_chunks(client: AsyncClient, session_id: str, messages: Sequence[Message]) -> None:
    """Deletes the records of removed messages. If that fails, they stay until the session is cleared."""
    gone = [
        ops.delete(name)
        for message in messages
        for name in chunk_names(session_id, message.payload, message.payload_type)
    ]
    if gone:
        with suppress(SessionsError):
            await client.sessions.commit(session_id, *gone)


def chunk_names(
    session_id: str, payload: bytes, payload_type: str, collection: tuple[str, ...] = COLLECTION
) -> list[RecordName]:
    """The records that a payload references; none if it is the value itself."""
    if payload_type != CHUNKED:
        return []
    pointer = load(payload)
    return [_name(session_id, collection, pointer["key"], number) for number in range(pointer["chunks"])]


async def value_of(client: AsyncClient, payload: bytes, chunks: Sequence[RecordName]) -> bytes:
    """The value of a payload: from the referenced chunks, or the payload itself if there are none. Raises
    PartMissing."""
    return b"".join([await _part(client, name) for name in chunks]) if chunks else payload


async def _part(client: AsyncClient, name: RecordName) -> bytes:
    try:
        return (await client.records.get(name)).value
    except NotFound:
        raise PartMissing(name) from None


def _chunked(session_id: str, value: bytes, collection: tuple[str, ...]) -> Packed:
    key = str(uuid.uuid4())
    parts = [value[start : start + CHUNK_BYTES] for start in range(0, len(value), CHUNK_BYTES)]
    pointer = dump({"key": key, "chunks": len(parts)})
    chunks = tuple((_name(session_id, collection, key, number), part) for number, part in enumerate(parts))
    return Packed(pointer, CHUNKED, chunks)


def _name(session_id: str, collection: tuple[str, ...], key: str, number: int) -> RecordName:
    return RecordName(Scope(session_id=session_id), collection, f"{key}/{number:06}")
