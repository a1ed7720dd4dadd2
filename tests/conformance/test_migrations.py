"""The tables: the migrations create what the statements expect, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from sessions_server.storage import migrations
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.databases import parse_url
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.schema import metadata

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.backend import Runner
    from tests.support.clock import HandClock


@pytest_asyncio.fixture
async def runner(url: str, clock: HandClock) -> AsyncIterator[Runner]:
    runner = parse_url(url).runner(RunOptions(clock=clock, pool_size=2, allow_unsafe=True))
    await runner.start()
    yield runner
    await runner.close()


async def test_created_tables_equal_migrated_ones(runner: Runner) -> None:
    created = await runner.write(everything)
    await run(runner, *drop_all())
    await runner.write(migrations.upgrade)
    assert await runner.write(everything) == created


async def test_the_migrated_tables_match_the_schema(runner: Runner) -> None:
    def differences(connection: Connection) -> list[Any]:
        def is_compared(_item: object, _name: object, kind: str, *_: object) -> bool:
            return kind != "index"  # the test above does, and knows on which database there is which

        options = {"version_table": migrations.VERSION_TABLE, "include_object": is_compared}
        found: list[Any] = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        return found

    assert await runner.write(differences) == []


async def test_the_migrated_constraints_have_the_schemas_names(runner: Runner) -> None:
    def keys(connection: Connection) -> dict[str, str | None]:
        inspector = sa.inspect(connection)
        return {table: inspector.get_pk_constraint(table)["name"] for table in metadata.tables}

    assert await runner.write(keys) == {
        name: table.primary_key.name for name, table in metadata.tables.items()
    }


async def test_a_database_cannot_be_downgraded(runner: Runner) -> None:
    with pytest.raises(StoreRefused, match="cannot go back; restore the backup"):
        await runner.write(lambda connection: command.downgrade(config_for(connection), "0001"))
    await runner.write(migrations.migrate)


async def test_a_database_of_a_newer_release_is_refused(runner: Runner) -> None:
    await run(runner, f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(StoreRefused, match="newer release"):
        await runner.write(migrations.migrate)


async def test_a_database_with_missing_tables_is_refused(runner: Runner) -> None:
    await run(runner, "DROP TABLE log", "DROP TABLE contexts")
    with pytest.raises(StoreRefused, match="lacks tables that were made in it: contexts, log; restore"):
        await runner.write(migrations.migrate)


async def test_a_database_with_missing_columns_is_refused(runner: Runner) -> None:
    await run(runner, "ALTER TABLE contexts DROP COLUMN data", "ALTER TABLE log DROP COLUMN payload")
    with pytest.raises(
        StoreRefused, match=r"lacks columns that were made in it: contexts.data, log.payload; rest"
    ):
        await runner.write(migrations.migrate)


async def test_a_database_with_more_columns_belongs_to_a_later_release(runner: Runner) -> None:
    await run(runner, "ALTER TABLE log ADD COLUMN more INTEGER")
    await runner.write(migrations.migrate)


async def test_a_database_without_a_version_is_refused(runner: Runner) -> None:
    await run(runner, f"DELETE FROM {migrations.VERSION_TABLE}")
    with pytest.raises(StoreRefused, match="sessions_version is empty, so the release of the"):
        await runner.write(migrations.migrate)


async def test_a_database_from_before_the_first_release_is_migrated(runner: Runner) -> None:
    await run(runner, *drop_all())
    await runner.write(lambda connection: command.upgrade(config_for(connection), "0001"))
    await run(
        runner,
        f"ALTER TABLE {migrations.VERSION_TABLE} RENAME TO alembic_version",
        "INSERT INTO requests VALUES ('t', 's', 'r', 'm', '', 0, 0, '')",
    )
    await runner.write(migrations.migrate)
    await runner.write(migrations.migrate)
    kept = await runner.read(
        lambda connection: connection.execute(sa.text("SELECT request_id FROM requests")).all(), snapshot=True
    )
    assert kept == [("r",)]


@pytest.mark.parametrize("revision", ["0001", "0002"])
async def test_another_programs_version_is_left_unchanged(runner: Runner, revision: str) -> None:
    await run(runner, *drop_all(), *alembic_of_another(revision))
    await runner.write(migrations.migrate)
    assert await runner.write(lambda connection: metadata.tables.keys() <= set(tables_of(connection)))
    await run(runner, "SELECT count(*) FROM sessions")
    others = await runner.read(
        lambda connection: connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar(),
        snapshot=True,
    )
    assert others == revision


@pytest.mark.parametrize("revision", ["", "0001"], ids=["no version", "another program's version"])
async def test_another_programs_tables_are_refused_and_left_unchanged(runner: Runner, revision: str) -> None:
    await run(runner, *drop_all(), *alembic_of_another(revision), "CREATE TABLE sessions (a INTEGER)")
    before = await runner.write(tables_of)
    with pytest.raises(StoreRefused, match="has tables of another program: sessions; give this server a"):
        await runner.write(migrations.migrate)
    assert await runner.write(tables_of) == before


def everything(connection: Connection) -> dict[str, Any]:
    """All that tables and indexes are made of, and the rows of each table. Columns may be in another order."""
    inspector = sa.inspect(connection)
    return {
        name: {
            "columns": {
                each["name"]: each | {"type": repr(each["type"])} for each in inspector.get_columns(name)
            },
            "key": inspector.get_pk_constraint(name),
            "rows": [
                set(row._mapping.items()) for row in connection.execute(sa.text(f"SELECT * FROM {name}"))
            ],
            "stored": stored(connection, name),
        }
        for name in (*metadata.tables, migrations.VERSION_TABLE)
    }


def stored(connection: Connection, table: str) -> set[tuple[Any, ...]]:
    """The statements of the indexes, and how the database keeps the table."""
    if connection.dialect.name == "sqlite":
        # SQLite keeps the text; it has two spellings of one operator.
        indexes = "SELECT name, replace(sql, '<>', '!=') FROM sqlite_master WHERE tbl_name = :table AND type = 'index'"
        kept = "SELECT wr, strict FROM pragma_table_list WHERE name = :table"
    else:
        indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = :table"
        kept = "SELECT relpersistence::text, reloptions FROM pg_class WHERE oid = to_regclass(:table)"
    found = [connection.execute(sa.text(text), {"table": table}).all() for text in (indexes, kept)]
    return {tuple(row) for rows in found for row in rows}


def config_for(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config


def drop_all() -> list[str]:
    return [f"DROP TABLE {name}" for name in (*metadata.tables, migrations.VERSION_TABLE)]


def alembic_of_another(revision: str) -> list[str]:
    if not revision:
        return []
    made = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
    return [made, f"INSERT INTO alembic_version VALUES ('{revision}')"]


def tables_of(connection: Connection) -> list[str]:
    return sorted(sa.inspect(connection).get_table_names())


async def run(runner: Runner, *statements: str) -> None:
    def work(connection: Connection) -> None:
        for statement in statements:
            connection.execute(sa.text(statement))

    await runner.write(work)


async def run_cut_short(runner: Runner) -> None:
    """Migrates in a transaction that is rolled back, as when the process is killed before its COMMIT."""

    def work(connection: Connection) -> None:
        migrations.migrate(connection)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await runner.write(work)


def test_the_head_that_needs_no_migration_is_the_last_one() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_heads() == [migrations.HEAD]
