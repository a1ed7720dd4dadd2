"""A stored value decrypts only in its own place with its own key. Anything else is DATA_LOSS, and nothing is
overwritten."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sessions_server.security.keyring import create_keyring
from tests.support.figures import show
from tests.support.server import Server, start_server
from tests.support.structs import struct
from tests.wire.deployments import GLOBEX, WRITER, tokens_file
from tests.wire.stubs import Caller, Refusal, message, refused, set_change

TENANTS = {"acme": WRITER, "globex": GLOBEX}
OWNERS = [("acme", "a"), ("acme", "b"), ("globex", "a")]
"""Two sessions of one tenant, and one of another tenant with the same id."""

SEALED = {
    "sessions": ("data_key", "1 = 1"),
    "contexts": ("data", "1 = 1"),
    "log": ("payload", "payload IS NOT NULL"),
    "requests": ("answer", "sealed = 1"),
}
"""The encrypted columns, by table."""


@dataclass(frozen=True)
class Cell:
    """One encrypted value in the database."""

    table: str
    row: int
    tenant: str
    session_id: str
    name: str
    """Distinguishes it from others of its session: a sequence, a request id."""


class Vault:
    """The database file, opened while its server runs, as an attacker with access to it would."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)

    def close(self) -> None:
        self._database.close()

    def cells(self) -> list[Cell]:
        names = {"sessions": "''", "contexts": "''", "log": "sequence", "requests": "request_id"}
        return [
            Cell(table, *row)
            for table, (_, condition) in SEALED.items()
            for row in self._database.execute(
                f"SELECT rowid, tenant, session_id, {names[table]} FROM {table} WHERE {condition}"
            )
        ]

    def get(self, cell: Cell) -> bytes:
        column, _ = SEALED[cell.table]
        [[value]] = self._database.execute(f"SELECT {column} FROM {cell.table} WHERE rowid = ?", [cell.row])
        return bytes(value)

    def put(self, cell: Cell, value: bytes) -> None:
        column, _ = SEALED[cell.table]
        self._database.execute(f"UPDATE {cell.table} SET {column} = ? WHERE rowid = ?", [value, cell.row])

    def everything(self) -> list[list[tuple[Any, ...]]]:
        return [self._database.execute(f"SELECT * FROM {table}").fetchall() for table in SEALED]


@dataclass
class Place:
    folder: Path
    keyring: Path
    server: Server
    callers: dict[str, Caller]

    def asks(self, cell: Cell) -> list[Callable[[], Any]]:
        """The calls that read a cell: each must be refused if its value is not the original."""
        caller, key = self.callers[cell.tenant], {"session_id": cell.session_id}
        if cell.table == "contexts":
            return [
                lambda: caller.GetContext(**key),
                lambda: caller.SetContext(**key, context=struct({})),
                lambda: caller.UpdateContext(**key, changes=[set_change("x")]),
            ]
        if cell.table == "log":
            return [lambda: until(caller.Subscribe(**key, after_sequence=int(cell.name) - 1), int(cell.name))]
        if cell.table == "requests":
            return [lambda: REQUESTS[cell.name](caller, cell.session_id)]
        return [
            lambda: caller.GetContext(**key),
            lambda: caller.GetHistory(**key),
            lambda: caller.AddMessage(**key, message=message()),
            lambda: caller.ExportSession(**key),
        ]


def until(stream: Any, sequence: int) -> None:
    """Reads a subscription up to a position."""
    for response in stream:
        if response.event.sequence >= sequence:
            stream.cancel()
            return


REQUESTS: dict[str, Callable[[Caller, str], Any]] = {
    "create": lambda caller, id_: caller.session(
        session_id=id_, storage_options={"encryption": True}, request_id="create"
    ),
    "context": lambda caller, id_: caller.SetContext(
        session_id=id_, context=struct({"secret": 1}), request_id="context"
    ),
    "messages": lambda caller, id_: caller.AddMessages(
        session_id=id_, messages=[message("one"), message("two")], request_id="messages"
    ),
}
"""Requests that create each session; repeated, they are answered from stored data."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    create_keyring(tmp_path / "keyring", now=datetime.now(UTC))
    folder = tmp_path / "server"
    folder.mkdir()
    env = {
        "SESSIONS_KEYRING": str(tmp_path / "keyring"),
        "SESSIONS_TOKENS": str(tokens_file(tmp_path)),
        "SESSIONS_SWEEP_INTERVAL": "1000000",
    }
    with start_server(folder, env=env) as server:
        callers = {tenant: Caller(server, token) for tenant, token in TENANTS.items()}
        for (tenant, session_id), request in itertools.product(OWNERS, REQUESTS.values()):
            request(callers[tenant], session_id)
        yield Place(folder, tmp_path / "keyring", server, callers)
        for caller in callers.values():
            caller.channel.close()


@pytest.fixture
def vault(place: Place) -> Iterator[Vault]:
    with closing(Vault(place.folder / "sessions.db")) as vault:
        yield vault


def check_is_lost(place: Place, vault: Vault, cell: Cell, value: bytes) -> None:
    """Puts a value into a cell, reads it in every way, and restores the cell."""
    right = vault.get(cell)
    vault.put(cell, value)
    before = vault.everything()
    for ask in place.asks(cell):
        refusal = refused(ask)
        assert (refusal.code, refusal.reason) == ("DATA_LOSS", "DATA_CORRUPTED"), cell
    assert vault.everything() == before, "nothing was overwritten"
    vault.put(cell, right)


def test_any_two_ciphertexts_swapped_are_refused(
    place: Place, vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = vault.cells()
    values = {cell: vault.get(cell) for cell in cells}
    # A data key, a context, the content of four events, and two stored responses: for an added message only a receipt
    # is kept.
    assert len(cells) == len(OWNERS) * (1 + 1 + 4 + 2)
    pairs = list(itertools.permutations(cells, 2))
    for target, source in pairs:
        check_is_lost(place, vault, target, values[source])
    show(capsys, f"{len(cells)} ciphertexts of {len(OWNERS)} sessions: {len(pairs)} swaps, all refused")
    for cell in cells:
        assert vault.get(cell) == values[cell]
    for tenant, session_id in OWNERS:
        caller = place.callers[tenant]
        assert [each.content for each in caller.history(session_id)] == ["one", "two"]
        assert dict(caller.context(session_id).data) == {"secret": 1}


def test_an_altered_ciphertext_is_refused(place: Place, vault: Vault) -> None:
    for cell in vault.cells():
        value = vault.get(cell)
        for index in (0, len(value) // 2, len(value) - 1):
            changed = bytearray(value)
            changed[index] ^= 1
            check_is_lost(place, vault, cell, bytes(changed))
        for other in (value[:-1], value + b"\0", b"{}", b""):
            check_is_lost(place, vault, cell, other)


NEED_THE_KEY: dict[str, Callable[[Caller], Any]] = {
    "GetContext": lambda caller: caller.GetContext(session_id="a"),
    "SetContext": lambda caller: caller.SetContext(session_id="a", context=struct({})),
    "UpdateContext": lambda caller: caller.UpdateContext(session_id="a", changes=[set_change("x")]),
    "GetHistory": lambda caller: caller.GetHistory(session_id="a"),
    "AddMessage": lambda caller: caller.AddMessage(session_id="a", message=message()),
    "AddMessages": lambda caller: caller.AddMessages(session_id="a", messages=[message()]),
    "ClearHistory": lambda caller: caller.ClearHistory(session_id="a"),
    "StartSession": lambda caller: caller.StartSession(session_id="a"),
    "Subscribe": lambda caller: caller.Subscribe(session_id="a", after_sequence=0),
    "ExportSession": lambda caller: caller.ExportSession(session_id="a"),
    "ImportSession": lambda caller: caller.import_("a", caller.export(caller.new_id())),
    "a repeated request": lambda caller: REQUESTS["context"](caller, "a"),
}


def forget(keyring: Path) -> None:
    """A keyring in place of the right one, whose only key has a different number."""
    text = keyring.read_text()
    other(keyring)
    assert keyring.read_text() != text
    keyring.write_text(
        keyring.read_text().replace('"id": 1', '"id": 2').replace('"current": 1', '"current": 2')
    )


def other(keyring: Path) -> None:
    """A different keyring whose only key has the same number."""
    keyring.unlink()
    create_keyring(keyring, now=datetime.now(UTC))


@contextmanager
def started_again(place: Place, *, has_keyring: bool) -> Iterator[Caller]:
    env = {"SESSIONS_TOKENS": str(place.keyring.with_name("tokens.toml"))}
    if has_keyring:
        env["SESSIONS_KEYRING"] = str(place.keyring)
    with start_server(place.folder, env=env) as server, Caller(server, WRITER) as caller:
        yield caller


def of(session_id: str, tables: list[list[tuple[Any, ...]]]) -> list[list[tuple[Any, ...]]]:
    """The rows of a session."""
    return [[row for row in rows if row[:2] == ("acme", session_id)] for rows in tables]


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        (other, "DATA_LOSS", "DATA_CORRUPTED"),
        (forget, "FAILED_PRECONDITION", "KEY_NOT_AVAILABLE"),
        (None, "FAILED_PRECONDITION", "KEY_NOT_AVAILABLE"),
    ],
    ids=["a wrong key", "without the key", "without a keyring"],
)
def test_without_its_key_a_session_is_neither_read_nor_overwritten(
    place: Place, vault: Vault, change: Callable[[Path], None] | None, code: str, reason: str
) -> None:
    right = place.keyring.read_bytes()
    place.server.stop()
    if change is not None:
        change(place.keyring)
    before = vault.everything()
    with started_again(place, has_keyring=change is not None) as caller:
        for name, call in NEED_THE_KEY.items():
            refusal: Refusal = refused(call, caller)
            assert (refusal.code, refusal.reason) == (code, reason), name
        assert caller.GetSession(session_id="a").session.message_count == 2
        if change is None:
            refusal = refused(caller.CreateSession, user_id="u", storage_options={"encryption": True})
            assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "ENCRYPTION_NOT_CONFIGURED")
        caller.DeleteSession(session_id="b")
    place.keyring.write_bytes(right)
    assert of("a", vault.everything()) == of("a", before), "nothing of it was overwritten"
    with started_again(place, has_keyring=True) as caller:
        assert [each.content for each in caller.history("a")] == ["one", "two"]
        assert dict(caller.context("a").data) == {"secret": 1}
        assert refused(caller.GetSession, session_id="b").code == "NOT_FOUND"
