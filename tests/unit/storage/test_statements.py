"""Reading the rows of a statement."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from sessions_server.storage.sqlite.connection import READER_PRAGMAS, connect
from sessions_server.storage.statements import Prepared

TEXTS = sa.table("texts", sa.column("text", sa.String))


def test_an_error_that_is_kept_keeps_no_file_open(tmp_path: Path) -> None:
    path = Path(os.path.realpath(tmp_path)) / "texts.db"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE texts AS SELECT CAST(x'ff' AS TEXT) AS text")
    made.close()
    connection = connect(path, READER_PRAGMAS)
    with pytest.raises(sqlite3.OperationalError) as kept:
        list(Prepared(sa.select(TEXTS)).stream(connection))
    connection.close()
    open_files = [file.path for file in psutil.Process().open_files()]
    assert str(path) not in open_files, kept.value
