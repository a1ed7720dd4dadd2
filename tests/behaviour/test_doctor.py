"""`sessions-server doctor`: its findings for good and bad settings and files, and that it changes nothing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessions_client import Client
from tests.support.certificates import Authority
from tests.support.command_line import run_here
from tests.support.ports import HOST, free_port
from tests.support.server import start_server

if TYPE_CHECKING:
    from tests.support.postgres import Postgres

KEYRING = {"SESSIONS_KEYRING": "keyring.json"}


def doctor(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """Its lines by subject, each with its level. Fails if a line is malformed."""
    done = run_here("doctor", *arguments, folder=folder, env=env)
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        grade, subject, sentence = line.split(maxsplit=2)
        assert sentence.endswith((".", "?")), line
        found.setdefault(subject, []).append(f"{grade} {sentence}")
    assert list(found) == ["settings", "database", "keyring", "TLS", "clock", "proxy"], done.stderr
    assert done.returncode == int("FAIL" in done.stdout), done.stderr
    return found


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A folder with a keyring and a database that has an encrypted session. No server is running."""
    assert run_here("keyring", "new", "keyring.json", folder=tmp_path).returncode == 0
    with start_server(tmp_path, env=KEYRING) as server, Client(server.address) as client:
        client.sessions.create("u1", storage_options={"encryption": True})
    return tmp_path


def test_a_new_folder_is_fine_and_stays_unchanged(tmp_path: Path) -> None:
    found = doctor(tmp_path)
    assert "FAIL" not in str(found)
    assert found["database"][0].startswith("ok SQLite")
    assert found["database"][0].endswith("the first start makes the tables.")
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_examined_and_not_changed(used: Path) -> None:
    before = (used / "sessions.db").read_bytes()
    found = doctor(used, env=KEYRING)
    assert found["database"][0].endswith("the tables are up to date.")
    assert found["keyring"] == ["ok Keys: 1; new sessions get key 1."]
    assert found["settings"] == ["ok Given: SESSIONS_KEYRING."]
    assert (used / "sessions.db").read_bytes() == before
    assert not (used / "sessions.db-wal").exists()


def test_a_running_server_is_reported_and_not_disturbed(used: Path) -> None:
    with start_server(used, env=KEYRING) as server, Client(server.address) as client:
        found = doctor(used, "--through", server.address, env=KEYRING)
        assert found["database"][0] == f"ok A server has it open: process ({server.pid})."
        assert [line.partition(" ")[0] for line in found["proxy"]] == ["ok"] * 3
        assert client.sessions.create("u2").user_id == "u2"


def test_an_unreachable_address_is_reported(tmp_path: Path) -> None:
    nowhere = f"{HOST}:{free_port()}"
    [sentence] = doctor(tmp_path, "--through", nowhere)["proxy"]
    assert sentence.startswith(f"FAIL {nowhere} does not answer as a gRPC server (UNAVAILABLE")


def test_an_empty_address_is_not_taken_for_one_that_is_not_given(tmp_path: Path) -> None:
    assert doctor(tmp_path, "--through", "")["proxy"][0].startswith("FAIL --through is empty")
    assert doctor(tmp_path)["proxy"][0].startswith("note Not checked")


def test_unsafe_settings_and_unknown_variables_are_reported(tmp_path: Path) -> None:
    found = doctor(tmp_path, "--listen", "0.0.0.0:50051", env={"SESSIONS_TOKEN": "secret"})["settings"]
    assert found[0].startswith("note SESSIONS_TOKEN is not a setting")
    assert found[1].startswith("FAIL 0.0.0.0:50051 can be reached from other machines")


def test_missing_keys_are_reported(used: Path) -> None:
    assert doctor(used)["keyring"][0].startswith("FAIL The database has encrypted sessions, and there is no")
    text = (used / "keyring.json").read_text()
    (used / "keyring.json").write_text(
        text.replace('"id": 1', '"id": 2').replace('"current": 1', '"current": 2')
    )
    assert doctor(used, env=KEYRING)["keyring"] == [
        "FAIL The keyring lacks keys that the database needs (1); put them back from a copy of the file."
    ]


def test_a_rotated_keyring_is_reported_as_unfinished(used: Path) -> None:
    run_here("keyring", "rotate", "keyring.json", folder=used)
    assert [line[:4] for line in doctor(used, env=KEYRING)["keyring"]] == ["ok K", "note"]


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ("0002", "note SQLite {version} at sessions.db: the next start upgrades"),
        ("9999", "FAIL SQLite {version} at"),
    ],
)
def test_tables_of_another_release_are_reported(used: Path, schema: str, sentence: str) -> None:
    with closing(sqlite3.connect(used / "sessions.db", isolation_level=None)) as connection:
        connection.execute("UPDATE sessions_version SET version_num = ?", (schema,))
    found = doctor(used, env=KEYRING)["database"]
    assert found[-1].startswith(sentence.format(version=sqlite3.sqlite_version))


def test_an_unusable_file_and_folder_are_reported(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("something else entirely\n" * 100)
    for name, sentence in (
        ("text", "FAIL text is not a SQLite database, and was left unchanged"),
        (
            "nowhere/sessions.db",
            f"FAIL The folder {tmp_path / 'nowhere'} is not there or cannot be written to",
        ),
    ):
        found = doctor(tmp_path, "--database-url", f"sqlite+aiosqlite:///{name}")
        assert found["database"][0].startswith(sentence)
        assert found["clock"] == ["note Nothing to compare with, since the database cannot be used."]


def test_a_clock_set_back_is_reported(used: Path) -> None:
    later = time.time() + 3600
    os.utime(used / "sessions.db", (later, later))
    [sentence] = doctor(used, env=KEYRING)["clock"]
    assert sentence.startswith("FAIL This machine's clock is 3")
    assert "seconds behind the database's" in sentence


def test_certificates_are_reported_before_they_expire(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    tls = {"SESSIONS_TLS_CERT": "cert.pem", "SESSIONS_TLS_KEY": "key.pem"}
    for days, line in (
        (60, "ok The certificates are valid for 59 days."),
        (5, "note A certificate expires in 4 days"),
    ):
        pair = Authority().issue("server", valid=(now - timedelta(days=1), now + timedelta(days=days)))
        (tmp_path / "cert.pem").write_bytes(pair.certificate)
        (tmp_path / "key.pem").write_bytes(pair.key)
        assert doctor(tmp_path, env=tls)["TLS"][0].startswith(line)
    (tmp_path / "cert.pem").write_bytes(Authority().issue("server").certificate)
    assert doctor(tmp_path, env=tls)["TLS"][0].startswith("FAIL SESSIONS_TLS_KEY: the key does not belong")


def test_postgresql_is_examined(postgres_server: Postgres, tmp_path: Path) -> None:
    name = asyncio.run(postgres_server.fresh_database())
    env = {
        "SESSIONS_DATABASE_URL": postgres_server.url(name),
        "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true",
        **KEYRING,
    }
    assert run_here("keyring", "new", "keyring.json", folder=tmp_path).returncode == 0
    fresh = doctor(tmp_path, env=env)
    assert fresh["database"][0].endswith(f"database {name}: the first start makes the tables.")
    assert fresh["clock"][0].startswith("ok It agrees with the database")
    with start_server(tmp_path, env=env) as server, Client(server.address) as client:
        client.sessions.create("u1", storage_options={"encryption": True})
        used = doctor(tmp_path, env=env)
    assert used["database"][0].endswith("the tables are up to date.")
    assert used["keyring"][0] == "ok Keys: 1; new sessions get key 1."
    unsafe = doctor(tmp_path, env={**env, "SESSIONS_ALLOW_UNSAFE_DURABILITY": "false"})["database"]
    assert unsafe[0].startswith("FAIL PostgreSQL's fsync is off")
    away = f"postgresql+asyncpg://u@{HOST}:{free_port()}/d"
    assert "cannot be reached" in doctor(tmp_path, "--database-url", away)["database"][0]
