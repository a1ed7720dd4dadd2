"""LangGraph's checkpoints as records of a session, which represents the thread.

The collection `langgraph/checkpoints/NAMESPACE` has one record for each checkpoint, by its id;
`langgraph/writes/NAMESPACE/CHECKPOINT` one for each pending write; `langgraph/blobs` the larger values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import ormsgpack
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    CheckpointTuple,
    get_checkpoint_metadata,
    writes_sort_key,
)

from sessions_client import Aborted, Record, RecordName, Scope, ops
from sessions_client.integrations import _langgraph_values as values
from sessions_client.integrations._ids import key_of, part, session_id_of, text_of
from sessions_client.integrations._langgraph_values import Blobs, Value
from sessions_client.integrations._reads import fetch, list_of, read_all, read_lists

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata

    from sessions_client.integrations._steps import Steps

CHECKPOINTS: Final = (values.ROOT, "checkpoints")
WRITES: Final = (values.ROOT, "writes")
_WRITE_INLINE_BYTES: Final = 64 * 1024
_MANY_BYTES: Final = 2 * 1024 * 1024
_CONDITIONS: Final = 100
_ATTEMPTS: Final = 5
_NEWEST_WRITES: Final = 4
"""How many writes to read together with the newest checkpoint. Between two runs it has none, or an interrupt; where it
has fewer than this many, one read is enough."""
_ORDERED_BYTES: Final = 320
"""Collections are ordered by this many bytes of their path."""
_LABELS: Final = ("source", "step", "run_id")


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint as stored in its record."""

    session_id: str
    namespace: str
    id: str
    parent: str | None
    body: Value
    metadata: Value
    channels: Mapping[str, Value]

    @classmethod
    def read(cls, record: Record) -> Stored:
        """Parses the record of a checkpoint."""
        raw = ormsgpack.unpackb(record.value)
        return cls(
            session_id=str(record.name.scope.session_id),
            namespace=raw["namespace"],
            id=raw["id"],
            parent=raw["parent"],
            body=Value.unpacked(raw["body"]),
            metadata=Value.unpacked(raw["metadata"]),
            channels={name: Value.unpacked(packed) for name, packed in raw["channels"]},
        )

    def packed(self) -> bytes:
        """The record's value, which `read` parses."""
        channels = [[name, value.packed()] for name, value in self.channels.items()]
        return ormsgpack.packb(
            {
                "namespace": self.namespace,
                "id": self.id,
                "parent": self.parent,
                "body": self.body.packed(),
                "metadata": self.metadata.packed(),
                "channels": channels,
            }
        )

    def values(self) -> Iterator[Value]:
        """All values of the checkpoint."""
        yield from (self.body, self.metadata, *self.channels.values())


@dataclass(frozen=True, slots=True)
class Write:
    """A pending write as stored in its record."""

    task_id: str
    task_path: str
    index: int
    channel: str
    value: Value

    @classmethod
    def read(cls, record: Record) -> Write:
        """Parses the record of a write."""
        task_id, task_path, index, channel, packed = ormsgpack.unpackb(record.value)
        return cls(task_id, task_path, index, channel, Value.unpacked(packed))

    def packed(self) -> bytes:
        """The record's value, which `read` parses."""
        return ormsgpack.packb([self.task_id, self.task_path, self.index, self.channel, self.value.packed()])


def label(value: Any) -> str | int | None:
    """The label by which lists can filter for a value; None if they cannot."""
    if isinstance(value, str):
        return part(value)
    is_number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
    return value if is_number else None


def labels_of(metadata: Mapping[str, Any]) -> dict[str, str | int]:
    """The labels of a checkpoint, or the part of a filter that the server can evaluate."""
    found = {key: label(metadata.get(key)) for key in _LABELS}
    return {key: value for key, value in found.items() if value is not None}


def checkpoint_name(session_id: str, namespace: str, checkpoint_id: str) -> RecordName:
    """The record name of a checkpoint."""
    return RecordName(Scope(session_id=session_id), (*CHECKPOINTS, part(namespace)), key_of(checkpoint_id))


def writes_of(session_id: str, namespace: str, checkpoint_id: str) -> RecordName:
    """The name prefix of a checkpoint's writes: the key is empty."""
    return RecordName(Scope(session_id=session_id), (*WRITES, part(namespace), part(checkpoint_id)))


def write_name(of: RecordName, task_id: str, index: int) -> RecordName:
    """The name of one write of a checkpoint, given the prefix of all its writes."""
    return RecordName(of.scope, of.collection, f"{key_of(task_id)}/{index}")


class Threads:
    """Operations on checkpoints, as steps for either client."""

    def __init__(self, serde: Any, create: Any) -> None:
        self._serde = serde
        self._create = create

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Steps[RunnableConfig]:
        """Stores a checkpoint and the changed values of its channels, all or none."""
        place = config["configurable"]
        session_id, namespace = session_id_of(str(place["thread_id"])), place.get("checkpoint_ns", "")
        whole = dict(get_checkpoint_metadata(config, metadata))
        dump, blobs, inline = self._serde.dumps_typed, Blobs(session_id), values.INLINE_BYTES
        channels = checkpoint["channel_values"]
        stored = Stored(
            session_id=session_id,
            namespace=namespace,
            id=checkpoint["id"],
            parent=place.get("checkpoint_id"),
            body=blobs.hold(dump({**checkpoint, "channel_values": {}}), inline=inline * 8),
            metadata=blobs.hold(dump(whole), inline=inline * 8),
            channels={
                name: blobs.hold(dump(value), inline=inline, is_new=name in new_versions)
                for name, value in channels.items()
            },
        )
        name = checkpoint_name(session_id, namespace, checkpoint["id"])
        put = ops.put(name, stored.packed(), value_type="application/msgpack", labels=labels_of(whole))
        yield from self._write(place["thread_id"], blobs, [put])
        return _config(place["thread_id"], namespace, checkpoint["id"])

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> Steps[None]:
        """Stores pending writes of a checkpoint; existing ones stay, except for the special ones."""
        typed = [
            (WRITES_IDX_MAP.get(channel, position), channel, self._serde.dumps_typed(value))
            for position, (channel, value) in enumerate(writes)
        ]
        yield from self.put_typed(config, typed, task_id, task_path)

    def put_typed(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[int, str, tuple[str, bytes]]],
        task_id: str,
        task_path: str,
    ) -> Steps[None]:
        """The same for writes that are indexed and serialized."""
        place = config["configurable"]
        session_id = session_id_of(str(place["thread_id"]))
        prefix = writes_of(session_id, place.get("checkpoint_ns", ""), place["checkpoint_id"])
        few = sum(len(raw) for _, _, (_, raw) in writes) <= _MANY_BYTES
        blobs = Blobs(session_id)
        puts = []
        for index, channel, value in writes:
            held = blobs.hold(value, inline=_WRITE_INLINE_BYTES if few else values.INLINE_BYTES)
            write = Write(task_id, task_path, index, channel, held)
            name = write_name(prefix, task_id, index)
            puts.append(ops.put(name, write.packed(), if_absent=index >= 0))
        if puts:
            yield from self._write(place["thread_id"], blobs, puts)

    def _write(self, thread_id: Any, blobs: Blobs, puts: list[ops.Operation]) -> Steps[None]:
        if len(blobs.present) > _CONDITIONS:
            blobs.expect_nothing()
        for attempt in range(_ATTEMPTS):
            try:
                yield from self._commit(str(thread_id), blobs, puts)
            except Aborted:
                if attempt == _ATTEMPTS - 1:
                    raise
                blobs.expect_nothing()
            else:
                return

    def _commit(self, thread_id: str, blobs: Blobs, puts: list[ops.Operation]) -> Steps[None]:
        """Raises Aborted if a prune deleted a value before anything pointed to it."""
        create = self._create(thread_id)
        first = [(ops.put(name, raw, if_absent=True), len(raw)) for name, raw in blobs.puts.items()]
        *before, last = list(values.in_commits([*first, *((put, 4 * values.INLINE_BYTES) for put in puts)]))
        for group in before:
            yield values.committing(blobs.session_id, group, create=create)
        expected = [*blobs.present, *list(blobs.puts)[: sum(map(len, before))]]
        conditions = [ops.if_record(name, present=True) for name in expected[:_CONDITIONS]]
        yield values.committing(blobs.session_id, last, create=create, conditions=conditions)
        if len(expected) > _CONDITIONS:
            # Values that no condition covered may be gone. Something points to them now, so they are put once more.
            for group in before:
                yield values.committing(blobs.session_id, group)

    def get_tuple(self, config: RunnableConfig) -> Steps[CheckpointTuple | None]:
        """The checkpoint of a config, or the newest of its namespace."""
        place = config["configurable"]
        session_id, namespace = session_id_of(str(place["thread_id"])), place.get("checkpoint_ns", "")
        checkpoint_id = place.get("checkpoint_id")
        for _ in range(_ATTEMPTS):
            stored, writes = yield from _found(session_id, namespace, checkpoint_id)
            if stored is None:
                return None
            found = yield from self._tuples([stored], [writes], str(place["thread_id"]))
            if found:
                return found[0]
        raise LookupError(
            f"A value of the newest checkpoint of thread {place['thread_id']!r} is missing; "
            "continue from an older checkpoint."
        )

    def tuples(self, records: Sequence[Record], thread_id: str | None = None) -> Steps[list[CheckpointTuple]]:
        """Checkpoints with their writes and values, without those deleted in the meantime."""
        stored = [Stored.read(record) for record in records]
        lists = yield from read_lists(
            [_query(writes_of(each.session_id, each.namespace, each.id)) for each in stored]
        )
        found: list[CheckpointTuple] = yield from self._tuples(stored, lists, thread_id)
        return found

    def _tuples(
        self, stored: Sequence[Stored], lists: Sequence[Sequence[Record]], thread_id: str | None
    ) -> Steps[list[CheckpointTuple]]:
        """Checkpoints, each with its writes."""
        writes = [[Write.read(record) for record in each] for each in lists]
        names = [
            name
            for each, its_writes in zip(stored, writes, strict=True)
            for value in (*each.values(), *(write.value for write in its_writes))
            for name in value.names(each.session_id)
        ]
        blobs = yield from fetch(names)
        threads = {} if thread_id is not None else (yield from self._threads(stored))
        found = []
        for each, its_writes in zip(stored, writes, strict=True):
            thread = thread_id if thread_id is not None else threads[each.session_id]
            try:
                found.append(self._tuple(thread, each, its_writes, blobs))
            except values.Gone:
                continue
        return found

    def _tuple(
        self, thread_id: str, stored: Stored, writes: Sequence[Write], blobs: Mapping[RecordName, bytes]
    ) -> CheckpointTuple:
        def loaded(value: Value) -> Any:
            return self._serde.loads_typed((value.type, value.bytes(stored.session_id, blobs)))

        ordered = sorted(writes, key=lambda each: writes_sort_key(each.task_path, each.task_id, each.index))
        raw = [(each, (each.value.type, each.value.bytes(stored.session_id, blobs))) for each in ordered]
        channels = {name: loaded(value) for name, value in stored.channels.items()}
        return CheckpointTuple(
            config=_config(thread_id, stored.namespace, stored.id),
            checkpoint={**loaded(stored.body), "channel_values": channels},
            metadata=loaded(stored.metadata),
            parent_config=_config(thread_id, stored.namespace, stored.parent) if stored.parent else None,
            pending_writes=[
                (each.task_id, each.channel, self._serde.loads_typed(typed)) for each, typed in raw
            ],
        )

    def _threads(self, stored: Sequence[Stored]) -> Steps[dict[str, str]]:
        """The thread id of each session."""
        found = {each.session_id: text_of(each.session_id) for each in stored}
        hashed = [session_id for session_id, text in found.items() if text is None]
        sessions = yield from read_all([ops.read_session(session_id) for session_id in hashed])
        for session_id, session in zip(hashed, sessions, strict=True):
            found[session_id] = text_of(session_id, session.metadata) if session else None
        return {session_id: text or session_id for session_id, text in found.items()}


def _found(
    session_id: str, namespace: str, checkpoint_id: str | None
) -> Steps[tuple[Stored | None, Sequence[Record]]]:
    """A checkpoint, or the newest one of its namespace, and the records of its writes."""
    if checkpoint_id:
        name = checkpoint_name(session_id, namespace, checkpoint_id)
        writes = _query(writes_of(session_id, namespace, checkpoint_id))
        record, page = yield from read_all([ops.read_record(name), list_of(writes)])
    else:
        newest, page = yield from read_all(_reads_of_the_newest(session_id, namespace))
        record = newest[0] if newest else None
    if record is None:
        return None, ()
    stored = Stored.read(record)
    writes = _query(writes_of(session_id, namespace, stored.id))
    if not _has_all(page, writes["collection"]):
        (page,) = yield from read_lists([writes])
    return stored, [each for each in page or () if each.name.collection == writes["collection"]]


def _reads_of_the_newest(session_id: str, namespace: str) -> list[ops.Read]:
    """The newest checkpoint, and the first writes of the namespace: those of the newest checkpoint come first."""
    newest: dict[str, Any] = {"scope": Scope(session_id=session_id), "order_by": "key desc"}
    return [
        ops.list_records(collection=(*CHECKPOINTS, part(namespace)), page_size=1, **newest),
        ops.list_records(
            collection=(*WRITES, part(namespace)), subtree=True, page_size=_NEWEST_WRITES, **newest
        ),
    ]


def _has_all(page: Any, collection: tuple[str, ...]) -> bool:
    """Whether a page in descending order, which begins at or above a collection, has all of its records."""
    if page is None or not page.next_page_token:
        return True
    is_ordered = sum(len(each.encode()) + 1 for each in collection) <= _ORDERED_BYTES
    return is_ordered and len(page) > 0 and page[-1].name.collection < collection


def _config(thread_id: Any, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": namespace,
            "checkpoint_id": checkpoint_id,
        }
    }


def _query(name: RecordName) -> dict[str, Any]:
    return {"scope": name.scope, "collection": name.collection}
