"""The command line as an operator uses it: its output, what it leaves unchanged, and how it fails."""

from __future__ import annotations

import re
import shutil
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sessions_client import Client
from sessions_server.app import running_core
from sessions_server.domain.models import Micros
from sessions_server.dump.reader import open_to_read
from sessions_server.dump.transfer import Imported, import_all
from sessions_server.settings import SETTINGS, Settings
from sessions_server.storage.clock import SystemClock
from tests.support.clock import HandClock
from tests.support.command_line import (
    line_of,
    run,
    run_here,
    sentence_of,
    shown,
)
from tests.support.server import start_server

SESSIONS = 12
HOUR = 3600
ENV = {"SESSIONS_DATABASE_URL": "sqlite+aiosqlite:///sessions.db", "SESSIONS_KEYRING": "keyring.json"}


@dataclass
class Place:
    """A folder with a database of a few sessions, one of them encrypted, and an export of it. No server is running."""

    folder: Path
    ids: list[str]
    env: dict[str, str] = field(default_factory=lambda: dict(ENV))

    @property
    def dump(self) -> Path:
        return self.folder / "dump"

    def said(self, *arguments: str | Path) -> str:
        return line_of(run_here(*arguments, folder=self.folder, env=self.env))

    def complained(self, *arguments: str | Path) -> str:
        return sentence_of(run_here(*arguments, folder=self.folder, env=self.env))

    def into(self, name: str) -> Place:
        """The same folder with a different database."""
        url = f"sqlite+aiosqlite:///{name}"
        return Place(self.folder, self.ids, {**self.env, "SESSIONS_DATABASE_URL": url})


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("original"), [])
    assert place.said("keyring", "new", "keyring.json")
    with start_server(place.folder, env=place.env) as server, Client(server.address) as client:
        for number in range(SESSIONS):
            options = {"encryption": True} if number == 0 else {"ttl": HOUR, "expiry_action": "delete"}
            made = client.sessions.create(f"u{number}", storage_options=options)
            client.sessions.add_message(made.id, role="user", content=f"text {number}")
            place.ids.append(made.id)
    assert place.said("export", "dump") == f"dump holds {SESSIONS} sessions"
    return place


@pytest.fixture
def place(original: Place, tmp_path: Path) -> Place:
    shutil.copytree(original.folder, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path, original.ids)


def said_here(*arguments: str, folder: Path) -> str:
    return line_of(run_here(*arguments, folder=folder))


def complained_here(*arguments: str, folder: Path, env: dict[str, str] | None = None) -> str:
    return sentence_of(run_here(*arguments, folder=folder, env=env))


def test_help_names_every_command_in_a_whole_sentence(tmp_path: Path) -> None:
    shown = run_here("--help", folder=tmp_path).stdout + run_here("keyring", "--help", folder=tmp_path).stdout
    shown += run_here("token", "--help", folder=tmp_path).stdout
    for name in (
        "serve",
        "doctor",
        "export",
        "import",
        "keyring",
        "token",
        "new",
        "rotate",
        "list",
        "rewrap",
    ):
        [*_, line] = [line for line in shown.splitlines() if line.split()[:1] == [name]]
        assert line.endswith("."), line
        assert not line.endswith("..."), line


def test_every_setting_is_a_flag_of_serve(tmp_path: Path) -> None:
    shown = run_here("serve", "--help", folder=tmp_path).stdout
    for name in SETTINGS:
        assert f"--{name.replace('_', '-')}" in shown
        assert f"[SESSIONS_{name.upper()}]" in shown


@pytest.mark.parametrize("arguments", [["serve", "--drain-grace", "soon"], ["export", "file"]])
def test_an_invalid_setting_is_named_as_flag_and_as_variable(tmp_path: Path, arguments: list[str]) -> None:
    sentence = complained_here(*arguments, folder=tmp_path, env={"SESSIONS_DRAIN_GRACE": "soon"})
    assert sentence.startswith("--drain-grace (SESSIONS_DRAIN_GRACE) cannot be used: ")


def test_a_port_in_use_is_reported_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("serve", "--listen", address, folder=tmp_path)
    [*of_grpc, sentence] = done.stderr.splitlines()
    assert (
        sentence == f"sessions-server: The server cannot listen on {address}; give a free address and port."
    )
    assert len(of_grpc) <= 1
    assert done.returncode == 1


def test_a_keyring_is_created_rotated_and_listed_and_never_overwritten(tmp_path: Path) -> None:
    assert said_here("keyring", "new", "keys", folder=tmp_path).startswith("made keys; start the server with")
    made = (tmp_path / "keys").read_bytes()
    assert complained_here("keyring", "new", "keys", folder=tmp_path).startswith(
        "keys exists and is left as it is"
    )
    assert (tmp_path / "keys").read_bytes() == made
    assert said_here("keyring", "rotate", "keys", folder=tmp_path).startswith("key 2 is now current")
    listed = run_here("keyring", "list", "keys", folder=tmp_path).stdout.splitlines()
    assert [(line.split("\t")[0], line.split("\t")[2:]) for line in listed] == [("1", []), ("2", ["current"])]
    assert complained_here("keyring", "new", "", folder=tmp_path).startswith(". exists and is left as it is")
    assert complained_here("keyring", "list", "none", folder=tmp_path).startswith(
        "There is no keyring at none"
    )


def test_a_token_is_shown_once_and_only_its_entry_goes_to_the_file(tmp_path: Path) -> None:
    done = run_here("token", "new", "--tenant", "acme", "--access", "read", folder=tmp_path)
    token = done.stderr.split()[-1]
    assert done.returncode == 0
    assert token not in done.stdout
    assert 'tenant = "acme"' in done.stdout
    assert 'access = "read"' in done.stdout


def test_an_export_is_imported_once(place: Place) -> None:
    other = place.into("other.db")
    assert other.said("import", "dump") == counts(added=SESSIONS)
    assert other.said("import", "dump") == counts(there=SESSIONS)
    with start_server(place.folder, env=other.env) as server, Client(server.address) as client:
        texts = [client.sessions.get_history(id_)[0].content for id_ in place.ids]
        client.sessions.delete(place.ids[1])
    assert texts == [f"text {number}" for number in range(SESSIONS)]
    assert other.said("import", "dump") == counts(there=SESSIONS), "what was deleted does not come back"


def counts(*, added: int = 0, there: int = 0, over: int = 0) -> str:
    return f"Sessions imported: {added}, already there: {there}, expired for good: {over}"


async def test_sessions_expired_since_the_export_are_skipped_and_counted(place: Place) -> None:
    later = HandClock(Micros(SystemClock().now() + HOUR * 1_000_000))
    settings = Settings(database_url=f"sqlite+aiosqlite:///{place.folder / 'later.db'}")
    settings = replace(settings, keyring=place.folder / "keyring.json")
    async with running_core(settings, clock=later) as core:
        with open_to_read(place.folder / "dump", core.cells) as reader:
            found = await import_all(core.store, core.transfers, reader, progress=lambda _: None)
    assert found == Imported(added=1, there=0, over=SESSIONS - 1)


def test_an_interrupted_export_resumes_and_completes_the_file(place: Place) -> None:
    dump = place.dump
    whole = dump.read_bytes()
    lines = whole.splitlines(keepends=True)
    for size in (7, len(lines[0]), len(whole) // 2, len(whole) - 3):
        dump.write_bytes(whole[:size])
        assert place.said("export", "dump") == f"dump holds {SESSIONS} sessions"
    assert place.into("other.db").said("import", "dump") == counts(added=SESSIONS)
    kept = dump.read_bytes()
    assert place.complained("export", "dump").startswith("dump is a complete export already")
    assert dump.read_bytes() == kept
    dump.write_bytes(kept[:-1])
    assert place.complained("import", "dump").startswith(
        "dump is incomplete; run `sessions-server export dump`"
    )


@pytest.mark.parametrize(
    ("verb", "name"), [("export", "sessions.db"), ("export", "text"), ("import", "keyring.json")]
)
def test_an_unrelated_file_is_left_alone(place: Place, verb: str, name: str) -> None:
    (place.folder / "text").write_text("not an export, and without a line's end")
    before = (place.folder / name).read_bytes()
    sentence = place.complained(verb, name)
    assert sentence == f"{name} is not an export of this program, and was left unchanged; name another file."
    assert (place.folder / name).read_bytes() == before


def test_unusable_files_are_reported(place: Place) -> None:
    assert place.complained("export", "nowhere/dump").startswith("nowhere/dump cannot be used (No such file")
    assert place.complained("import", "nothing").startswith("nothing cannot be used (No such file")
    missing = place.into("missing.db")
    for arguments in (["export", "dump"], ["keyring", "rewrap"]):
        assert missing.complained(*arguments).startswith(
            "There is no database at sqlite+aiosqlite:///missing.db"
        )
    assert not (place.folder / "missing.db").exists()
    with start_server(place.folder, env=place.env):
        refused = place.complained("export", "dump")
        assert re.match(r"Another process \(\d+\) uses the database", refused), refused


def test_an_id_used_by_another_session_stops_the_import(place: Place) -> None:
    other = place.into("other.db")
    taken = sorted(place.ids)[5]
    with start_server(place.folder, env=other.env) as server, Client(server.address) as client:
        client.sessions.create("someone", session_id=taken)
    sentence = other.complained("import", "dump")
    assert sentence == (
        f"Stopped at session {taken} of tenant default: another session has this id in the database. Import into "
        "another database, or delete that session, then run the import again; earlier sessions are imported."
    )


def test_encrypted_sessions_need_their_keyring_for_export_and_import(place: Place) -> None:
    bare = {name: value for name, value in place.env.items() if name != "SESSIONS_KEYRING"}
    sentence = complained_here("export", "another", folder=place.folder, env=bare)
    assert sentence.startswith(f"Stopped at session {place.ids[0]} of tenant default: It is encrypted")
    assert b"text 1" in place.dump.read_bytes()
    assert b"text 0" not in (place.folder / "dump").read_bytes()
    other = {**bare, "SESSIONS_DATABASE_URL": "sqlite+aiosqlite:///other.db"}
    sentence = complained_here("import", "dump", folder=place.folder, env=other)
    assert sentence.startswith(f"Stopped at session {place.ids[0]} of tenant default: ")


def test_a_progress_bar_is_shown_on_a_terminal(place: Place) -> None:
    env = {**place.into("other.db").env, "TERM": "xterm"}
    bar = shown("import", "dump", folder=place.folder, env=env)
    size = (place.folder / "dump").stat().st_size
    assert "importing bytes" in bar
    assert f"{size}/{size}" in bar
