"""The tables: what the migrations make is what the statements are written for, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from sessions_server.storage import migrations
from sessions_server.storage.engine import SqliteFile, parse_url
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.postgres import PostgresRunner
from sessions_server.storage.schema import metadata
from sessions_server.storage.sqlite import SqliteRunner

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.runner import Runner
    from tests.support.clock import HandClock


@pytest_asyncio.fixture
async def runner(url: str, clock: HandClock) -> AsyncIterator[Runner]:
    place = parse_url(url)
    runner: Runner
    if isinstance(place, SqliteFile):
        runner = SqliteRunner(place.path, clock=clock, scrub_seconds=1)
    else:
        runner = PostgresRunner(place, clock=clock, pool_size=2, allow_unsafe=True)
    await runner.start()
    yield runner
    await runner.close()


async def test_the_migrated_tables_are_those_of_the_schema(runner: Runner) -> None:
    def differences(connection: Connection) -> list[Any]:
        found: list[Any] = compare_metadata(MigrationContext.configure(connection), metadata)
        return found

    assert await runner.write(differences) == []


async def test_the_migrated_constraints_bear_the_names_of_the_schema(runner: Runner) -> None:
    def keys(connection: Connection) -> dict[str, str | None]:
        inspector = sa.inspect(connection)
        return {table: inspector.get_pk_constraint(table)["name"] for table in metadata.tables}

    assert await runner.write(keys) == {
        name: table.primary_key.name for name, table in metadata.tables.items()
    }


async def test_the_first_migration_can_be_undone(runner: Runner) -> None:
    def undo_and_redo(connection: Connection) -> list[str]:
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        left = sa.inspect(connection).get_table_names()
        migrations.migrate(connection)
        return left

    assert await runner.write(undo_and_redo) == ["alembic_version"]
    await runner.write(migrations.migrate)


async def test_a_database_of_a_newer_release_is_refused(runner: Runner) -> None:
    await runner.write(
        lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    )
    with pytest.raises(StoreRefused, match="newer release"):
        await runner.write(migrations.migrate)


def test_the_head_that_needs_no_migration_is_the_last_one() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_heads() == [migrations.HEAD]
