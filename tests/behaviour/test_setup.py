"""Unusable settings, files and databases: each error names what to fix, and shows no password."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessions_client import Client, ResourceExhausted
from sessions_server.settings import unknown_variables
from tests.support.certificates import Authority
from tests.support.command_line import run, run_here, sentence_of
from tests.support.ports import HOST, free_port
from tests.support.server import start_server

if TYPE_CHECKING:
    from tests.support.postgres import Postgres

PASSWORD = "hunter-two"
UNSAFE = {"SESSIONS_ALLOW_UNSAFE_DURABILITY": "true"}


def complained(folder: Path, *arguments: str, **env: str) -> str:
    """The output of a command that fails before it serves."""
    return sentence_of(run_here(*arguments, folder=folder, env=env))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("listen", "127.0.0.1:65536", "it must be a host and a port from 0 to 65535"),
        ("listen", "127.0.0.1", "it must be a host and a port"),
        ("listen", ":50051", "it must be a host and a port"),
        ("listen", "127.0.0.1:-1", "it must be a host and a port"),
        ("listen", "", "it must be a host and a port"),
        ("metrics_listen", "9464", "it must be a host and a port"),
        ("sweep_interval", "0", "it must be at least 0.01 seconds"),
        ("sweep_interval", "-1", "it must be at least 0.01 seconds"),
        ("drain_grace", "-1", "it must be at least 0 seconds"),
        ("events_kept", "-0.5", "it must be at least 0 seconds"),
        ("drain_grace", "1s", "it must be a number of seconds without a unit"),
        ("drain_grace", "nan", "it must be a number of seconds"),
        ("events_kept", "inf", "it must be a number of seconds"),
        ("events_kept", "1e300", "it must be a number of seconds"),
    ],
)
def test_a_value_out_of_range_is_refused(tmp_path: Path, name: str, value: str, reason: str) -> None:
    flag = "--" + name.replace("_", "-")
    sentence = complained(tmp_path, "serve", f"{flag}={value}")
    assert sentence.startswith(f"{flag} (SESSIONS_{name.upper()}) cannot be used: ")
    assert reason in sentence
    assert list(tmp_path.iterdir()) == []


def test_the_minimum_sweep_and_no_grace_are_accepted_and_an_empty_variable_is_unset(tmp_path: Path) -> None:
    names = ("KEYRING", "TOKENS", "TLS_CERT", "TLS_CLIENT_CA", "METRICS_LISTEN", "DRAIN_GRACE", "POOL_SIZE")
    empty = {f"SESSIONS_{name}": "" for name in names}
    with start_server(tmp_path, env={**empty, "SESSIONS_SWEEP_INTERVAL": "0.02"}) as server:
        assert server.stop() == 0
    with start_server(tmp_path, env={"SESSIONS_DRAIN_GRACE": "0", "SESSIONS_EVENTS_KEPT": "0"}) as server:
        assert server.stop() == 0
    assert server.log == ""


def test_an_unknown_variable_is_reported_once_without_its_value(tmp_path: Path) -> None:
    env = {"SESSIONS_TOKEN": PASSWORD, "SESSIONS_SERVICE_PORT": "1", "SESSIONS_PORT": "tcp://10.0.0.1:1"}
    with start_server(tmp_path, env=env) as server:
        server.stop()
    [line] = server.log.splitlines()
    assert (
        "SESSIONS_TOKEN is not a setting of this server and has no effect; did you mean SESSIONS_TOKENS?"
        in line
    )
    assert PASSWORD not in line


def test_limits_can_be_set_as_far_as_a_response_allows(tmp_path: Path) -> None:
    small = {
        "SESSIONS_MAX_CONTENT_BYTES": "10",
        "SESSIONS_MAX_PAGE_SIZE": "2",
        "SESSIONS_MAX_METADATA_KEYS": "1",
    }
    with start_server(tmp_path, env=small) as server, Client(server.address) as client:
        session = client.sessions.create("u1", metadata={"a": 1})
        for text in ("first", "second", "0123456789"):
            client.sessions.add_message(session.id, role="user", content=text)
        assert len(client.sessions.get_history(session.id)) == 2
        with pytest.raises(ResourceExhausted, match="at most 10 bytes"):
            client.sessions.add_message(session.id, role="user", content="0123456789-")
        with pytest.raises(ResourceExhausted, match="at most 1 keys"):
            client.sessions.update(session.id, metadata={"a": 1, "b": 2})
    sentence = complained(tmp_path, "serve", SESSIONS_MAX_DATA_BYTES="1000000")
    assert sentence.endswith("more than the 3670016 of a message in an answer; lower one of them.")


def test_variables_set_by_kubernetes_are_not_reported() -> None:
    of_a_service = {
        "SESSIONS_SERVICE_HOST": "10.0.0.1",
        "SESSIONS_SERVICE_PORT_GRPC": "50051",
        "SESSIONS_PORT": "tcp://10.0.0.1:50051",
        "SESSIONS_PORT_50051_TCP_ADDR": "10.0.0.1",
    }
    assert list(unknown_variables({**of_a_service, "sessions_listen": "", "PATH": ""})) == []
    [mistake] = unknown_variables({"SESSIONS_PORT": "50051"})
    assert mistake.startswith("SESSIONS_PORT is not a setting")
    [strange] = unknown_variables({"SESSIONS_QQQQ": ""})
    assert strange.endswith("`sessions-server serve --help` lists them.")


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, str]:
    pair = Authority().issue("server")
    (tmp_path / "cert.pem").write_bytes(pair.certificate)
    (tmp_path / "key.pem").write_bytes(pair.key)
    (tmp_path / "empty.pem").touch()
    return {"SESSIONS_TLS_CERT": "cert.pem", "SESSIONS_TLS_KEY": "key.pem"}


def test_incomplete_tls_settings_are_refused(tmp_path: Path, tls: dict[str, str]) -> None:
    alone = complained(tmp_path, "serve", SESSIONS_TLS_CLIENT_CA="cert.pem")
    assert "give SESSIONS_TLS_CERT and SESSIONS_TLS_KEY, also where SESSIONS_TLS_CLIENT_CA is given" in alone
    for name, holds in (("CLIENT_CA", "certificate"), ("CERT", "certificate"), ("KEY", "private key")):
        sentence = complained(tmp_path, "serve", **{**tls, f"SESSIONS_TLS_{name}": "empty.pem"})
        assert sentence == f"SESSIONS_TLS_{name}: the file has no {holds} in PEM; name a file that has one."


@pytest.mark.parametrize("address", ["nats://127.0.0.1:abc", "nats://"])
def test_an_invalid_nats_address_is_refused_before_serving(
    postgres_server: Postgres, tmp_path: Path, address: str
) -> None:
    url = postgres_server.url(asyncio.run(postgres_server.fresh_database()))
    env = {**UNSAFE, "SESSIONS_DATABASE_URL": url, "SESSIONS_WAKEUPS": address}
    sentence = sentence_of(run("serve", "--listen", f"{HOST}:0", folder=tmp_path, env=env))
    assert "give SESSIONS_WAKEUPS an address such as nats://127.0.0.1:4222" in sentence


@pytest.fixture(scope="module")
def database(postgres_server: Postgres) -> Iterator[str]:
    """The name of a database without tables whose schema only its owner may use; dropped at the end."""
    name = asyncio.run(postgres_server.fresh_database())
    for statement in ("CREATE ROLE guest LOGIN", f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC'):
        asyncio.run(postgres_server.execute(statement))
    asyncio.run(postgres_server.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC", database=name))
    yield name
    asyncio.run(postgres_server.execute(f'DROP DATABASE "{name}"'))
    asyncio.run(postgres_server.execute("DROP ROLE guest"))


SETTING = "SESSIONS_DATABASE_URL"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (
            "postgres:{password}@{at}/nothing",
            "PostgreSQL has no database nothing; create it, or correct the name",
        ),
        (
            "nobody:{password}@{at}/{name}",
            "PostgreSQL does not let the role nobody in; check its name and password",
        ),
        (
            "guest:{password}@{at}/{name}",
            "The role guest may not connect to the database {name}; grant it CONNECT",
        ),
        (
            "u:{password}@127.0.0.1:{free}/d",
            "PostgreSQL at 127.0.0.1:{free} cannot be reached; start it, or check",
        ),
        (
            "u:{password}@host.invalid/d",
            "The host of PostgreSQL, host.invalid:5432, is not known; check its host",
        ),
        ("u:{password}@127.0.0.1:abc/d", "The port in SESSIONS_DATABASE_URL is not a number; correct it."),
        (
            "u:{password}@{password}@{at}/d",
            "PostgreSQL cannot be reached; percent-encode what is special in",
        ),
        (
            "postgres@{at}/{name}?nonsense=require",
            "SESSIONS_DATABASE_URL has an option that is not known: nonsense;",
        ),
        (
            "postgres@{at}/{name}?ssl=nonsense",
            "An option in SESSIONS_DATABASE_URL has a value that cannot be used",
        ),
        (
            "postgres@{at}/{name}?ssl=require",
            "PostgreSQL at {at} offers no TLS; switch it on there, or leave ssl",
        ),
        (
            "postgres@/{name}?host={at}&target_session_attrs=standby",
            "No PostgreSQL at {at} is what target_session_attrs asks for; start one, or correct",
        ),
        ("postgres@{at}/{name}?target_session_attrs=x", "An option in SESSIONS_DATABASE_URL has a value"),
    ],
)
def test_an_unusable_postgresql_is_reported_by_commands(
    postgres_server: Postgres, tmp_path: Path, database: str, address: str, sentence: str
) -> None:
    given = {
        "at": f"{HOST}:{postgres_server.port}",
        "name": database,
        "password": PASSWORD,
        "free": free_port(),
    }
    url = "postgresql+asyncpg://" + address.format(**given)
    said = complained(tmp_path, "export", "dump", **UNSAFE, SESSIONS_DATABASE_URL=url)
    assert said.startswith(sentence.format(**given))
    assert SETTING in said
    assert PASSWORD not in said


def test_a_role_that_may_not_create_tables_is_reported(
    postgres_server: Postgres, tmp_path: Path, database: str
) -> None:
    url = f"postgresql+asyncpg://guest@{HOST}:{postgres_server.port}/{database}"
    asyncio.run(postgres_server.execute(f'GRANT CONNECT ON DATABASE "{database}" TO guest'))
    for right in ("", "GRANT USAGE ON SCHEMA public TO guest"):
        asyncio.run(postgres_server.execute(right, database=database))
        said = complained(tmp_path, "export", "dump", **UNSAFE, SESSIONS_DATABASE_URL=url)
        assert said.startswith(
            f"The role guest may not read, make or change the tables in the database {database}; grant it"
        )
    asyncio.run(postgres_server.execute(f'REVOKE CONNECT ON DATABASE "{database}" FROM guest'))


def test_a_missing_postgresql_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    said = complained(tmp_path, "export", "dump", SESSIONS_DATABASE_URL="postgresql+asyncpg://u@h/d")
    assert said == "PostgreSQL needs the package asyncpg; install sessions[server,postgres]."


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("folder", "folder is a folder; name a file, such as folder/sessions.db."),
        (
            "text",
            "text is not a SQLite database, and was left unchanged; name another file in SESSIONS_DATABASE_URL.",
        ),
        ("locked", "locked is in use by another program; close that one, or name another file in"),
        (
            "other",
            "The database has tables of another program: sessions; give this server a database of its own",
        ),
    ],
)
def test_a_foreign_database_file_is_reported_and_left_unchanged(
    tmp_path: Path, name: str, sentence: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("something else entirely\n" * 100)
    with (
        closing(sqlite3.connect(tmp_path / "other")) as other,
        closing(sqlite3.connect(tmp_path / "locked", isolation_level=None)) as locked,
    ):
        other.execute("CREATE TABLE sessions (a)")
        locked.execute("CREATE TABLE a (a)")
        locked.execute("BEGIN EXCLUSIVE")
        said = complained(tmp_path, "export", "dump", SESSIONS_DATABASE_URL=f"sqlite+aiosqlite:///{name}")
        assert said.startswith(sentence)
    assert (tmp_path / "text").read_text() == "something else entirely\n" * 100
    assert not (tmp_path / "folder.lock").exists()
