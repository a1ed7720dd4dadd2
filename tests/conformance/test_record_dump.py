"""Records of users and tenants are exported with a database's sessions, encrypted if there is a keyring."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from sessions_server.domain.records import Scope
from sessions_server.dump.reader import open_to_read
from sessions_server.dump.transfer import export_all, import_all
from sessions_server.dump.writer import open_to_write
from sessions_server.service.transfer import Transfers
from tests.conformance.harness import Harness, create
from tests.conformance.record_harness import IN_SESSION, all_of, delete, micros, name, put, query, write
from tests.conformance.test_record_locks import running_writer

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells
    from sessions_server.domain.records import Record
    from sessions_server.storage.store import Store
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

SCOPES = [
    Scope("a"),
    Scope("a", user_id="u"),
    Scope("default"),
    Scope("z", user_id="v"),
    Scope("z", user_id="w"),
]
SECRET = b"canary-in-a-record"


async def everything(store: Store) -> list[Record]:
    return [
        record
        for scope in (*SCOPES, IN_SESSION)
        for record in await all_of(store, query(scope=scope, subtree=True)._replace(collection=()))
    ]


async def test_shared_records_move_with_a_dump(
    url: str, tmp_path: Path, opener: Opener, clock: HandClock, cells: Cells
) -> None:
    dump = tmp_path / "dump"
    async with AsyncExitStack() as stack:

        async def opened(url: str) -> tuple[Store, Transfers]:
            store = opener(url)
            await store.start()
            stack.push_async_callback(store.close)
            commits = await running_writer(store, stack)
            return store, Transfers(commits=commits, store=store, cells=cells, clock=clock)

        source, out = await opened(url)
        await Harness(source, clock).do(create())
        for scope in SCOPES:
            puts = [put(name(f"k{number}", "c", scope=scope), SECRET, {"n": number}) for number in range(3)]
            await write(source, *puts, put(name("short", scope=scope), ttl=micros(1)))
        await write(source, put(name("k", scope=IN_SESSION), time=micros(-1), etag="kept"))
        clock.turn(seconds=2)
        with open_to_write(dump, cells) as writer:
            assert (await export_all(source, out, writer, progress=lambda _: None)).sessions == 1
        assert SECRET not in dump.read_bytes()

        # If it was cut in the middle of a user's records, the export continues with that user.
        lines = dump.read_bytes().splitlines(keepends=True)
        dump.write_bytes(b"".join(lines[:-4]))
        with open_to_write(dump, cells) as writer:
            assert writer.reached.last_scope == SCOPES[-2]
            assert (await export_all(source, out, writer, progress=lambda _: None)).sessions == 1

        target, back = await opened(f"sqlite+aiosqlite:///{tmp_path / 'target.db'}")
        await write(target, put(name("k0", "c", scope=SCOPES[0]), b"newer", etag="newer"))
        for added in (1, 0):
            with open_to_read(dump, cells) as reader:
                imported = await import_all(target, back, reader, progress=lambda _: None)
            assert (imported.added, imported.there) == (added, 1 - added)
        before, after = await everything(source), await everything(target)
        assert len(before) == 16
        assert after[1:] == before[1:]
        assert after[0].etag == "newer"
        assert len(await all_of(target, query(scope=SCOPES[0], filter={"n": 1}))) == 1
        await source.sweep_records(99)
        await write(source, *(delete(record.name) for record in before if record.name.scope == SCOPES[1]))
        assert await source.shared_scopes(None, 9) == [scope for scope in SCOPES if scope != SCOPES[1]]
