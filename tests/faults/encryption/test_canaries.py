"""No content of an encrypted session is unencrypted on the disk or in a log; unencrypted content is found there."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.security.keyring import create_keyring
from tests.support.figures import show
from tests.support.server import Server, start_server
from tests.support.structs import struct
from tests.wire.stubs import Caller, message

CANARIES = 10_000
SESSIONS = 10
CONTEXT_CHANGES = 50
"""Each with a canary as its key and another as its value."""

BATCHES = 3
MESSAGES_TOGETHER = 50
"""Each with six canaries."""

SPOOL_BYTES = 2_000_000
CANARY = re.compile(rb"canary-[0-9a-f]{16}")


@dataclass
class Canaries:
    """Random strings that occur nowhere else."""

    rng: random.Random
    all: list[str] = field(default_factory=list)

    def new(self) -> str:
        self.all.append(f"canary-{self.rng.getrandbits(64):016x}")
        return self.all[-1]

    def in_files(self, *folders: Path) -> set[str]:
        """The canaries in any file below the folders."""
        found: set[str] = set()
        for folder in folders:
            for path in folder.rglob("*"):
                if path.is_file():
                    found.update(match.decode() for match in CANARY.findall(path.read_bytes()))
        return found & set(self.all)


@dataclass
class Place:
    folder: Path
    server: Server
    caller: Caller


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    create_keyring(tmp_path / "keyring", now=datetime.now(UTC))
    folder = tmp_path / "server"
    folder.mkdir()
    env = {"SESSIONS_KEYRING": str(tmp_path / "keyring"), "SESSIONS_LOG_LEVEL": "debug"}
    with start_server(folder, env=env) as server, Caller(server) as caller:
        yield Place(folder, server, caller)


def canary_message(canaries: Canaries) -> pb.Message:
    return message(
        canaries.new(),
        name=canaries.new(),
        tool_call_id=canaries.new(),
        data=struct({canaries.new(): canaries.new()}),
        metadata=struct({"in": canaries.new()}),
    )


def write_all(caller: Caller, canaries: Canaries, **fields: Any) -> None:
    """Writes canaries wherever a session has content: messages, context, and so events and stored responses."""
    for _ in range(SESSIONS):
        session = caller.new_id(**fields)
        for turn in range(CONTEXT_CHANGES):
            change = pb.ContextChange(path=canaries.new())
            change.set.string_value = canaries.new()
            caller.UpdateContext(session_id=session, changes=[change], request_id=f"context-{turn}")
        for turn in range(BATCHES):
            batch = [canary_message(canaries) for _ in range(MESSAGES_TOGETHER)]
            caller.AddMessages(session_id=session, messages=batch, request_id=f"messages-{turn}")
        refuse_some(caller, session, canaries.all[-1])
        caller.import_(f"{session}-copy", caller.export(session))


def refuse_some(caller: Caller, session: str, known: str) -> None:
    """Makes calls that fail and contain content, which a log might repeat."""
    through = pb.ContextChange(path=f"{known}.{known}")
    through.set.string_value = known
    for method, fields in (
        ("UpdateContext", {"changes": [pb.ContextChange(path=known, increment=1), through]}),
        ("GetContext", {"path": f"{known}.{known}.{known}"}),
        ("AddMessage", {"message": message(known, role="r" * 65)}),
        ("SetContext", {"context": struct({known: known}), "etag": "0"}),
    ):
        try:
            getattr(caller, method)(session_id=session, **fields)
        except grpc.RpcError:
            continue


def test_none_of_ten_thousand_encrypted_canaries_is_found(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    secret, plain = Canaries(random.Random(1)), Canaries(random.Random(2))
    write_all(place.caller, secret, storage_options={"encryption": True})
    write_all(place.caller, plain)
    assert len(secret.all) == len(plain.all) == CANARIES
    wal = (place.folder / "sessions.db-wal").stat().st_size
    running = secret.in_files(place.folder), plain.in_files(place.folder)
    place.server.stop()
    stopped = secret.in_files(place.folder), plain.in_files(place.folder)
    show(
        capsys,
        f"of {CANARIES} canaries in encrypted sessions {len(running[0])} are found while the server runs (its "
        f"write-ahead log has {wal} bytes) and {len(stopped[0])} when it has stopped; of as many in sessions that "
        f"are not encrypted {len(running[1])} and {len(stopped[1])}",
    )
    assert running[0] == stopped[0] == set()
    assert wal > 0
    # A few are split across pages of the file.
    assert len(running[1]) > 0.99 * CANARIES
    assert len(stopped[1]) > 0.95 * CANARIES


@pytest.mark.parametrize(
    ("has_keyring", "encrypted"),
    [(True, True), (True, False), (False, False)],
    ids=["encrypted", "not encrypted, for what it goes into may be", "without a keyring, where all is found"],
)
def test_a_spooled_import_is_encrypted_on_the_disk_if_there_is_a_keyring(
    place: Place, tmp_path: Path, has_keyring: bool, encrypted: bool
) -> None:
    session = place.caller.new_id(storage_options={"encryption": encrypted})
    canaries = Canaries(random.Random(3))
    filler = "x" * 10_000
    texts = [message(canaries.new() + filler) for _ in range(SPOOL_BYTES // len(filler))]
    place.caller.AddMessages(session_id=session, messages=texts)
    *records, footer = place.caller.export(session)
    seen = b""
    with ExitStack() as stack:
        server, caller = place.server, place.caller
        if not has_keyring:
            (tmp_path / "target").mkdir()
            server = stack.enter_context(start_server(tmp_path / "target"))
            caller = stack.enter_context(Caller(server))

        def requests() -> Iterator[pb.ImportSessionRequest]:
            nonlocal seen
            yield pb.ImportSessionRequest(session_id="it")
            for record in records:
                yield pb.ImportSessionRequest(record=record)
            while len(seen) < SPOOL_BYTES // 2:  # the server reads the records at its own pace
                seen = nameless_files(server.pid)
            yield pb.ImportSessionRequest(record=footer)

        caller.ImportSession(requests())
    found = {match.decode() for match in CANARY.findall(seen)} & set(canaries.all)
    if has_keyring:
        assert found == set()
    else:
        assert len(found) > len(canaries.all) // 3


def nameless_files(pid: int) -> bytes:
    """The content of deleted files that a process still has open."""
    content = b""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if str(descriptor.readlink()).endswith("(deleted)"):
                content += descriptor.read_bytes()
        except OSError:  # closed meanwhile
            continue
    return content
