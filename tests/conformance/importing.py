"""Imports a session slice by slice, and inspects what is stored meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from sessions_server.domain.commit import Commit, Committed
from sessions_server.domain.imports import Import, Slice, Staged
from sessions_server.domain.models import (
    JsonObject,
    Message,
    MessageBody,
    Micros,
    Sequence,
    Session,
    SessionConfig,
    SessionKey,
    State,
    StorageOptions,
)
from sessions_server.domain.operations import ImportMessages, ImportRecords
from sessions_server.domain.records import Record, RecordName, Scope
from sessions_server.storage.schema import json_text, metadata
from tests.conformance.harness import KEY, Harness, stamp
from tests.support import commits as c
from tests.support.clock import START

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Transaction
    from sessions_server.domain.workspace import Published

EARLIER: Final = Micros(START - 1_000_000)
CONTEXT: Final[JsonObject] = {"canary": "of the context"}
WITH_SESSIONS: Final = [table for table in metadata.tables.values() if "session_id" in table.c]


def exported(count: int, *, encryption: bool = False) -> Session:
    """A session of another server, as exported."""
    return Session(
        key=SessionKey("", "elsewhere"),
        user_id="u",
        state=State.ACTIVE,
        metadata={"canary": "of the metadata", "n": 1},
        config=SessionConfig(),
        storage=StorageOptions(encryption=encryption),
        message_count=count,
        last_sequence=Sequence(2 * count),
        revision=Sequence(1),
        history_start=Sequence(1),
        log_start=Sequence(1),
        create_time=EARLIER,
        update_time=EARLIER,
        active_time=EARLIER,
    )


def messages(first: int, count: int) -> tuple[Message, ...]:
    numbers = range(first, first + count)
    body = "canary of message"
    return tuple(
        Message(f"id of {n}", Sequence(2 * n), EARLIER, MessageBody("user", f"{body} {n}")) for n in numbers
    )


def records(key: SessionKey, first: int, count: int) -> tuple[Record, ...]:
    return tuple(
        Record(
            RecordName(Scope(*key), ("c",), f"k{number:04}"),
            f"canary of record {number}".encode(),
            "text",
            {"n": number},
            EARLIER,
            None,
            f"e{number}",
            EARLIER,
            EARLIER,
            None,
        )
        for number in range(first, first + count)
    )


@dataclass
class Coming:
    """An import of this many messages and records, in slices of this many."""

    bench: Harness
    key: SessionKey = KEY
    count: int = 30
    records: int = 10
    rows: int = 10
    data_key: bytes | None = None
    request: str = ""
    moved: bool = False
    fail_if_exists: bool = False
    staged: Staged | None = None

    @property
    def whole(self) -> Import:
        opening = c.import_session(
            key=self.key,
            exported=exported(self.count, encryption=self.data_key is not None),
            context=CONTEXT,
            message_count=self.count,
            data_key=self.data_key,
            fail_if_exists=self.fail_if_exists,
            moved=self.moved,
            log_id="of the import",
            request=stamp(self.request) if self.request else None,
        )
        return Import(opening=opening, slices=self.slices)

    def slices(self) -> Iterator[Slice]:
        yield from self.slices_of_messages()
        yield from self.slices_of_records()

    def slices_of_messages(self) -> Iterator[Slice]:
        for first in range(1, self.count + 1, self.rows):
            some = messages(first, min(self.rows, self.count + 1 - first))
            yield (ImportMessages(some, self.request),)

    def slices_of_records(self) -> Iterator[Slice]:
        for first in range(0, self.records, self.rows):
            yield (ImportRecords(records(self.key, first, min(self.rows, self.records - first))),)

    async def begin(self) -> Staged | None:
        self.staged = await self.bench.store.transact(lambda tx: tx.begin_import(self.whole.opening))
        return self.staged

    @property
    def held(self) -> Staged:
        assert self.staged is not None
        return self.staged

    async def add(self, part: Slice) -> None:
        self.staged = await self.bench.store.transact(lambda tx: tx.add_to_import(self.held, part))

    async def end(self) -> tuple[Committed, list[Published]]:
        return await self.bench.store.transact(lambda tx: tx.end_import(self.held))

    async def give_up(self) -> None:
        await self.bench.store.transact(lambda tx: tx.give_up_import(self.held))

    async def some(self, slices: int) -> None:
        """At most this many slices, without the end."""
        assert await self.begin() is not None
        for part, _ in zip(self.slices(), range(slices), strict=False):
            await self.add(part)

    async def all(self) -> Session:
        await self.some(self.count + self.records)
        committed, _ = await self.end()
        return committed.session_after()

    async def at_once(self) -> None:
        """The same slices in one transaction."""

        def work(tx: Transaction) -> None:
            parts = (
                Commit(key=self.key, operations=part, shows_session=False) for part in self.whole.slices()
            )
            for commit in (self.whole.opening, *parts):
                workspace = tx.load([commit])
                workspace.apply(commit)
                tx.save(workspace)

        await self.bench.store.transact(work)


async def rows_of(bench: Harness, key: SessionKey) -> dict[str, list[tuple[Any, ...]]]:
    """Everything stored of a session, by table, without its key and where imports started in its log."""
    left_out = ("tenant", "session_id", "tx", "import_start", "records_start")

    def read(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
        found = {}
        for table in WITH_SESSIONS:
            columns = [
                json_text(column) if column.name in ("metadata", "labels", "hidden") else column
                for column in table.c
                if column.name not in left_out
            ]
            rows = connection.execute(
                sa.select(*columns).where(table.c.tenant == key.tenant, table.c.session_id == key.session_id)
            )
            found[table.name] = sorted((tuple(_plain(value, key) for value in row) for row in rows), key=str)
        return {table: rows for table, rows in found.items() if rows}

    return await bench.store._runner.read(read, snapshot=True)


def _plain(value: Any, key: SessionKey) -> Any:
    """PostgreSQL keeps the keys of metadata in its own order, and adds branches to the log's identity, of which reads
    use the one in the session's row."""
    if not isinstance(value, memoryview | bytes):
        return value
    plain = bytes(value).replace(key.session_id.encode(), b"*")
    try:
        found = json.loads(plain)
    except ValueError:
        return plain
    return json.dumps(found | {"log_id": ""} if isinstance(found, dict) else found, sort_keys=True)


async def erase_all(bench: Harness) -> int:
    """Returns how many rows it examined."""
    total = 0
    while count := await bench.store.erase(7):
        total += count
    return total
