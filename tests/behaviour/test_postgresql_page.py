"""Following the page on PostgreSQL gives a working database, and a role that can serve and nothing more."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from sessions_client import Client
from tests.meta.readme import blocks
from tests.meta.tree import text_of
from tests.support.ports import HOST
from tests.support.postgres import Postgres
from tests.support.server import start_server

PAGE = text_of(Path("docs/postgresql.md"))


def statements() -> list[list[str]]:
    """The statements of each SQL block."""
    found = [block.text for block in blocks(PAGE) if block.word == "sql"]
    return [[one.strip() for one in text.split(";") if one.strip()] for text in found]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("owner", "serving")]
    for folder in made:
        folder.mkdir()
    return made


async def test_the_statements_set_up_an_owner_and_a_serving_role(
    postgres_server: Postgres, folders: list[Path]
) -> None:
    set_up, roles = statements()
    for statement in set_up:
        await postgres_server.execute(statement)
    await serve(folders[0], f"sessions:choose-one@{HOST}:{postgres_server.port}/sessions")

    await postgres_server.execute("CREATE ROLE sessions_serving LOGIN PASSWORD 'choose-another'")
    for statement in roles:
        await postgres_server.execute(statement, database="sessions", role="sessions")
    nobody = f"@/sessions?host={HOST}:9&host={HOST}:{postgres_server.port}&target_session_attrs=read-write"
    await serve(folders[1], f"sessions_serving:choose-another{nobody}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await postgres_server.execute("DROP TABLE log", database="sessions", role="sessions_serving")


async def serve(folder: Path, place: str) -> None:
    """Runs a server through a session's lifecycle."""
    env = {
        "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true",
        "SESSIONS_DATABASE_URL": f"postgresql+asyncpg://{place}",
    }
    with start_server(folder, env=env) as server, Client(server.address) as client:
        session = client.sessions.create("u", metadata={"device": "web"})
        client.sessions.add_message(session.id, role="user", content="Hello")
        client.sessions.set_context(session.id, context={"a": 1})
        assert [one.id for one in client.sessions.search(metadata_filter={"device": "web"})] == [session.id]
        client.sessions.delete(session.id)
