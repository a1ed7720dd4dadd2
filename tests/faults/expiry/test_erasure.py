"""Erased content leaves the disk: the database file and its write-ahead log, even if the server is killed right away.

The tests search for canaries, strings that occur nowhere else. On PostgreSQL, vacuum removes them at a later time.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.security.keyring import create_keyring
from tests.faults.durability.load import stub_of
from tests.faults.expiry.probes import Stub, each
from tests.support.clock import SharedClock
from tests.support.figures import show
from tests.support.server import Server, start_server
from tests.support.structs import struct
from tests.support.waiting import eventually
from tests.wire.stubs import Caller, message

CANARIES = 200
TTL_SECONDS = 60
MANY = 400
CONTEXTS_EACH = 2
MESSAGES_EACH = 6
CANARY = re.compile(rb"<<[0-9a-f]{16}>>")
TEMPORARY = {"storage_options": {"persistence": pb.PERSISTENCE_TEMPORARY, "ttl": {"seconds": TTL_SECONDS}}}


@dataclass
class Place:
    """A server, a caller, and the folder of all its files."""

    folder: Path
    server: Server
    caller: Caller
    clock: SharedClock

    def found(self, canaries: list[str]) -> int:
        """How many of them occur anywhere in the server's files."""
        stored = b"".join(path.read_bytes() for path in self.folder.iterdir() if path.is_file())
        return sum(canary.encode() in stored for canary in canaries)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "server"
    folder.mkdir()
    clock = SharedClock(tmp_path / "clock")
    with (
        start_server(folder, env={"SESSIONS_SWEEP_INTERVAL": "0.05"}, clock=clock) as server,
        Caller(server) as caller,
    ):
        yield Place(folder, server, caller, clock)


def fill(place: Place, name: str, **fields: Any) -> list[str]:
    """A session with canaries wherever it has content; returns them."""
    canaries = [f"canary-{name}-{number}-" for number in range(CANARIES)]
    metadata, context, *texts = canaries
    session = place.caller.session(session_id=name, metadata=struct({"canary": metadata}), **fields)
    place.caller.SetContext(session_id=session.id, context=struct({"canary": context}), request_id="c")
    messages = [message(text, data=struct({"canary": text})) for text in texts]
    place.caller.AddMessages(session_id=session.id, messages=messages, request_id="m")
    return canaries


def in_history(canaries: list[str]) -> list[str]:
    return canaries[2:]


Erase = Callable[[Place, str], object]


def truncate(place: Place, name: str) -> None:
    place.caller.UpdateSession(
        session_id=name,
        session=pb.Session(config=pb.SessionConfig(max_messages=1)),
        update_mask={"paths": ["config.max_messages"]},
    )
    place.caller.AddMessage(session_id=name, message=message("the only one"))


def replace(place: Place, name: str) -> None:
    place.caller.import_(name, place.caller.export(place.caller.new_id()))


WHOLE: dict[str, Erase] = {
    "delete": lambda place, name: place.caller.DeleteSession(session_id=name),
    "end": lambda place, name: place.caller.EndSession(session_id=name),
    "ttl": lambda place, name: place.clock.turn(seconds=TTL_SECONDS),
}
"""Ways to erase a temporary session."""

HISTORY: dict[str, Erase] = {
    "clear": lambda place, name: place.caller.ClearHistory(session_id=name),
    "truncate": truncate,
    "replace": replace,
}
"""Ways to erase a history."""


async def test_erased_content_leaves_the_files_of_a_running_server(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    canaries = {name: fill(place, name, **TEMPORARY) for name in {**WHOLE, **HISTORY}}
    kept = fill(place, "kept")
    for name, of_session in canaries.items():
        assert place.found(of_session) == CANARIES, "the search finds what is there"
        if name in HISTORY:
            canaries[name] = in_history(of_session)
    for name, erase in {**HISTORY, **WHOLE}.items():
        erase(place, name)
    erased = [canary for of_session in canaries.values() for canary in of_session]

    async def look() -> int:
        return place.found(erased)

    left = await eventually(look, lambda found: found == 0)
    show(
        capsys,
        f"{len(erased)} canaries, erased in {len(canaries)} ways: {left} are left in the database, its "
        f"write-ahead log and the server's log; {place.found(kept)} of {CANARIES} others are still there",
    )
    assert (left, place.found(kept)) == (0, CANARIES)


async def test_erased_content_leaves_the_files_even_if_the_server_is_killed(place: Place) -> None:
    ways = {name: erase for name, erase in {**HISTORY, **WHOLE}.items() if name != "ttl"}
    canaries = {name: fill(place, name, **TEMPORARY) for name in ways}
    for name, erase in ways.items():
        erase(place, name)
    place.server.restart()
    erased = [
        canary for name, all_ in canaries.items() for canary in (all_ if name in WHOLE else in_history(all_))
    ]

    async def look() -> int:
        return place.found(erased)

    assert await eventually(look, lambda found: found == 0) == 0


async def test_the_data_key_of_an_erased_session_is_erased(tmp_path: Path) -> None:
    create_keyring(tmp_path / "keyring", now=datetime.now(UTC))
    folder = tmp_path / "server"
    folder.mkdir()
    env = {"SESSIONS_KEYRING": str(tmp_path / "keyring")}
    with start_server(folder, env=env) as server, Caller(server) as caller:
        session = caller.new_id(storage_options={"encryption": True})
        with closing(sqlite3.connect(folder / "sessions.db")) as database:
            [[data_key]] = database.execute("SELECT data_key FROM sessions")

        async def look() -> int:
            return sum(data_key in path.read_bytes() for path in folder.iterdir())

        assert await look() > 0
        caller.DeleteSession(session_id=session)
        assert await eventually(look, lambda found: found == 0) == 0


@pytest.mark.parametrize("seed", [1, 2])
async def test_scattered_erasures_leave_no_copy_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    """SQLite leaves copies of rows that it moves between pages; see `storage/sqlite/gaps.py`."""
    rng = random.Random(seed)
    folder = tmp_path / "server"
    folder.mkdir()
    with start_server(folder) as server:
        async with stub_of(server) as stub:
            canaries = await fill_at_random(stub, rng)
            erased = await erase_at_random(stub, rng, canaries)

        async def look() -> list[str]:
            stored = b"".join(path.read_bytes() for path in folder.iterdir())
            return sorted(erased & {found.decode() for found in CANARY.findall(stored)})

        assert await eventually(look, lambda found: not found) == []
    assert await look() == [], "a stop does not write any of it again"
    with closing(sqlite3.connect(folder / "sessions.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    show(capsys, f"{len(erased)} pieces of content, erased in a random order: none is left")


async def fill_at_random(stub: Stub, rng: random.Random) -> dict[str, list[str]]:
    """Many sessions that grow concurrently, as in real use; returns each session's canaries, those of its messages
    last."""
    ids = [f"s{number}" for number in range(MANY)]
    canaries: dict[str, list[str]] = {}

    def text(session_id: str, length: int) -> str:
        canary = f"<<{rng.getrandbits(64):016x}>>"
        canaries.setdefault(session_id, []).append(canary)
        return canary + "x" * rng.randrange(length)

    async def create(session_id: str) -> None:
        metadata = struct({"text": text(session_id, 60)})
        await stub.CreateSession(
            pb.CreateSessionRequest(session_id=session_id, user_id="u", metadata=metadata)
        )

    async def set_context(session_id: str) -> None:
        context = struct({"text": text(session_id, rng.choice([100, 700, 20_000]))})
        await stub.SetContext(pb.SetContextRequest(session_id=session_id, context=context))

    async def add(session_id: str) -> None:
        said = message(text(session_id, rng.choice([100, 400, 9_000])))
        await stub.AddMessage(pb.AddMessageRequest(session_id=session_id, message=said))

    await each(ids, create)
    for _ in range(CONTEXTS_EACH):
        await each(rng.sample(ids, MANY), set_context)
    await each(rng.sample(ids * MESSAGES_EACH, MANY * MESSAGES_EACH), add)
    return canaries


async def erase_at_random(stub: Stub, rng: random.Random, canaries: dict[str, list[str]]) -> set[str]:
    """Deletes most sessions and clears some; returns the canaries of everything erased."""
    order = rng.sample(sorted(canaries), MANY)
    deleted, cleared = order[: MANY * 3 // 4], order[MANY * 3 // 4 : MANY * 7 // 8]

    async def erase(session_id: str) -> None:
        if session_id in cleared:
            await stub.ClearHistory(pb.ClearHistoryRequest(session_id=session_id))
        else:
            await stub.DeleteSession(pb.DeleteSessionRequest(session_id=session_id))

    await each(rng.sample(deleted + cleared, len(deleted + cleared)), erase)
    texts = [canary for session_id in deleted for canary in canaries[session_id]]
    return {*texts, *(canary for session_id in cleared for canary in canaries[session_id][-MESSAGES_EACH:])}
