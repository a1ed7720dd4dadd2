"""The planner's statistics of new tables.

Without any, PostgreSQL may look sessions up in an index that has their id in last place, and reads it from end to end.
Prepared statements keep such a plan until the tables are analyzed, which autovacuum does within a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sessions_server.storage.schema import metadata

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_STATE: Final = """
SELECT EXISTS (SELECT FROM sessions), reltuples < 0 FROM pg_class WHERE oid = to_regclass('sessions')
"""


def analyze_new(connection: Connection) -> bool:
    """Analyzes the tables if they have rows and nobody has done so yet. Returns whether they are analyzed."""
    has_rows, is_new = connection.exec_driver_sql(_STATE).one()
    if has_rows and is_new:
        connection.exec_driver_sql(f"ANALYZE {', '.join(metadata.tables)}")
    return bool(has_rows or not is_new)
