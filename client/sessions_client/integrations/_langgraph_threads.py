"""Operations on whole threads: listing checkpoints, removing some, copying all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from sessions_client import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    Record,
    RecordName,
    Scope,
    ops,
)
from sessions_client.integrations import _langgraph_values as values
from sessions_client.integrations._ids import key_of, metadata_of, part, session_id_of
from sessions_client.integrations._langgraph_checkpoints import (
    CHECKPOINTS,
    WRITES,
    Stored,
    Threads,
    Write,
    label,
    labels_of,
    writes_of,
)
from sessions_client.integrations._langgraph_items import at
from sessions_client.integrations._reads import fetch, read_lists

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import CheckpointTuple

    from sessions_client.integrations._steps import Steps

PAGE: Final = 50
_RUNS: Final = 50
_ATTEMPTS: Final = 10
_COUNTERS: Final = "counters_since_delta_snapshot"


def names_of(
    config: RunnableConfig | None, filter: dict[str, Any] | None, before: RunnableConfig | None
) -> Steps[list[RecordName]]:
    """The records of checkpoints that may match, newest first."""
    place = config["configurable"] if config else {}
    namespace, thread_id = place.get("checkpoint_ns"), place.get("thread_id")
    bound = (before or {}).get("configurable", {}).get("checkpoint_id")
    (records,) = yield from read_lists(
        [
            {
                "scope": Scope(session_id=session_id_of(str(thread_id))) if thread_id is not None else _ALL,
                "collection": CHECKPOINTS if namespace is None else (*CHECKPOINTS, part(namespace)),
                "subtree": namespace is None,
                "before_key": key_of(bound) if bound and namespace is not None else None,
                "filter": labels_of(filter or {}) or None,
                "order_by": "key desc",
                "keys_only": True,
            }
        ]
    )
    wanted = place.get("checkpoint_id")
    names = [record.name for record in records]
    if wanted:
        names = [name for name in names if name.key == key_of(wanted)]
    if bound:
        names = [name for name in names if name.key < key_of(bound)]
    return sorted(names, key=lambda name: name.key, reverse=True)


def page_of(threads: Threads, names: Sequence[RecordName]) -> Steps[list[CheckpointTuple]]:
    """The checkpoints of these records, as far as they still exist."""
    found = yield from fetch(names)
    records = [Record(name=name, value=found[name]) for name in names if name in found]
    tuples: list[CheckpointTuple] = yield from threads.tuples(records)
    return tuples


def fits(found: CheckpointTuple, filter: dict[str, Any] | None) -> bool:
    """Whether the metadata matches a filter."""
    return all(at(found.metadata, key) == value for key, value in (filter or {}).items())


def delete_thread(thread_id: str) -> Steps[None]:
    """Deletes the thread's session with everything in it."""
    session_id = session_id_of(str(thread_id))
    try:
        yield lambda client: client.sessions.delete(session_id)
    except NotFound:
        return


def delete_for_runs(run_ids: Sequence[str]) -> Steps[None]:
    """Deletes the checkpoints of these runs in all threads."""
    runs = set(map(label, run_ids))
    found: set[str] = set()
    for group in _groups(sorted(map(str, runs)), _RUNS):
        (records,) = yield from read_lists(
            [
                {
                    "scope": _ALL,
                    "collection": CHECKPOINTS,
                    "subtree": True,
                    "filter": {"run_id": {"$in": group}},
                    "keys_only": True,
                }
            ]
        )
        found.update(record.name.scope.session_id for record in records)

    for session_id in sorted(found):
        yield from _remove(session_id, lambda records: _of_runs(runs, records))


def _of_runs(runs: set[Any], records: Sequence[Record]) -> Steps[set[RecordName]]:
    yield from ()
    return {record.name for record in records if record.labels.get("run_id") in runs}


def prune(threads: Threads, thread_ids: Sequence[str], strategy: str) -> Steps[None]:
    """Deletes all checkpoints of threads, or all except the newest of each namespace and those it is rebuilt from."""
    if strategy not in {"keep_latest", "delete"}:
        raise ValueError(f"There is no strategy {strategy!r}; use 'keep_latest' or 'delete'.")
    for thread_id in thread_ids:
        if strategy == "delete":
            yield from delete_thread(thread_id)
        else:
            yield from _remove(session_id_of(str(thread_id)), lambda records: _older(threads, records))


def copy_thread(source: str, target: str) -> Steps[None]:
    """Copies a thread by a fork, or record by record into an existing thread."""
    source_id, target_id = session_id_of(str(source)), session_id_of(str(target))
    metadata = metadata_of(str(target))
    try:
        yield lambda client: client.sessions.fork(
            source_id, new_session_id=target_id, metadata=metadata or None
        )
    except NotFound:
        return
    except AlreadyExists:
        yield from _copy_records(source_id, target_id)


def _copy_records(source_id: str, target_id: str) -> Steps[None]:
    (heads,) = yield from read_lists(
        [
            {
                "scope": Scope(session_id=source_id),
                "collection": (values.ROOT,),
                "subtree": True,
                "keys_only": True,
            }
        ]
    )
    # Values first, then the records that point to them.
    heads.sort(key=lambda head: head.name.collection != values.BLOBS)
    for group in _groups(heads, PAGE):
        found = yield from fetch([head.name for head in group])
        puts = [
            (_copied(head, found[head.name], target_id), len(found[head.name]) + values.INLINE_BYTES)
            for head in group
            if head.name in found
        ]
        for operations in values.in_commits(puts):
            yield values.committing(target_id, operations)


def _copied(head: Record, value: bytes, session_id: str) -> ops.Operation:
    name = RecordName(Scope(session_id=session_id), head.name.collection, head.name.key)
    return ops.put(name, value, value_type=head.value_type, labels=head.labels, time=head.time)


def _remove(session_id: str, choose: Callable[[Sequence[Record]], Steps[set[RecordName]]]) -> Steps[None]:
    """Deletes the chosen checkpoints, their writes, and values that are then no longer referenced.

    If the data changed after it was read, everything is read and decided again.
    """
    for _ in range(_ATTEMPTS):
        (session,) = yield lambda client: client.sessions.read(ops.read_session(session_id))
        if session is None:
            return
        operations = yield from _removal(session_id, choose)
        try:
            position = session.last_sequence
            for group in _groups(operations, values.COMMIT_OPERATIONS):
                unchanged = ops.if_last_sequence(position)
                committed = yield values.committing(session_id, group, conditions=[unchanged])
                position = committed.session.last_sequence
        except Aborted:
            continue
        return
    raise FailedPrecondition(
        f"Session {session_id!r} kept changing while checkpoints were being deleted; "
        "repeat it when the thread's runs have ended."
    )


def _removal(
    session_id: str, choose: Callable[[Sequence[Record]], Steps[set[RecordName]]]
) -> Steps[list[ops.Operation]]:
    scope = Scope(session_id=session_id)
    checkpoints, writes, blobs = yield from read_lists(
        [
            {"scope": scope, "collection": CHECKPOINTS, "subtree": True},
            {"scope": scope, "collection": WRITES, "subtree": True},
            {"scope": scope, "collection": values.BLOBS, "keys_only": True},
        ]
    )
    doomed = yield from choose(checkpoints)
    stored = {record.name: Stored.read(record) for record in checkpoints}
    gone = [writes_of(session_id, stored[name].namespace, stored[name].id) for name in doomed]
    gone_writes = {name.collection for name in gone}
    kept = [value for name, each in stored.items() if name not in doomed for value in each.values()]
    kept += [Write.read(record).value for record in writes if record.name.collection not in gone_writes]
    used = {name for value in kept for name in value.names(session_id)}
    unused = [record.name for record in blobs if record.name not in used] if doomed else []
    return [
        *(ops.delete(name) for name in sorted(doomed, key=lambda name: (name.collection, name.key))),
        *(ops.delete(name, prefix=True) for name in gone),
        *(ops.delete(name) for name in unused),
    ]


def _older(threads: Threads, records: Sequence[Record]) -> Steps[set[RecordName]]:
    """All checkpoints except the newest of each namespace and the ancestors from which its delta channels are
    rebuilt."""
    by_name = {record.name: record for record in records}
    newest: dict[tuple[str, ...], RecordName] = {}
    for name in sorted(by_name, key=lambda name: name.key):
        newest[name.collection] = name
    kept: set[RecordName] = set()
    for name in newest.values():
        current: RecordName | None = name
        missing: set[str] | None = None
        while current is not None and current in by_name and current not in kept:
            kept.add(current)
            stored = Stored.read(by_name[current])
            if missing is None:
                missing = set((yield from _deltas(threads, by_name[current])))
            missing -= set(stored.channels)
            parent = stored.parent if missing else None
            current = RecordName(name.scope, name.collection, key_of(parent)) if parent else None
    return set(by_name) - kept


def _deltas(threads: Threads, record: Record) -> Steps[Iterable[str]]:
    """The channels that a checkpoint stores as changes since a snapshot."""
    found = yield from threads.tuples([record], "")
    return found[0].metadata.get(_COUNTERS, {}) if found else ()


def _groups(items: Sequence[Any], size: int) -> list[list[Any]]:
    left = iter(items)
    return list(iter(lambda: list(islice(left, size)), []))


_ALL: Final = Scope(all_sessions=True)
