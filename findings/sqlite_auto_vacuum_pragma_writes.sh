#!/usr/bin/env bash
# SQLite: `PRAGMA auto_vacuum = INCREMENTAL` writes to a database that already has that mode, and needs its lock.
#
# One would expect a pragma that sets what is set to do nothing, as `PRAGMA journal_mode = WAL` does: programs put their
# pragmas into a function that runs for each new connection. This one writes a page of the file every time. So opening a
# connection fails with "database is locked", or waits for the busy timeout, while another connection holds a write
# transaction, and a pool that opens connections for readers makes writers wait. `PRAGMA application_id` and
# `user_version` are the same, but nobody repeats those. Read `PRAGMA auto_vacuum` first, and set it only if it differs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 - <<'PYTHON'
import os
import platform
import sqlite3
import sys

PRAGMAS = ("auto_vacuum = INCREMENTAL", "journal_mode = WAL", "synchronous = FULL", "cache_size = -2000")


def connect():
    return sqlite3.connect("items.db", isolation_level=None, timeout=0)


def outcome(reader, pragma):
    try:
        reader.execute(f"PRAGMA {pragma}").fetchall()
    except sqlite3.OperationalError as error:
        return str(error)
    return "passes"


print("Python", platform.python_version(), "with SQLite", sqlite3.sqlite_version)
writer = connect()
for pragma in PRAGMAS:
    writer.execute(f"PRAGMA {pragma}")
writer.execute("CREATE TABLE items (value TEXT)")
reader = connect()
[mode] = reader.execute("PRAGMA auto_vacuum").fetchone()
print("auto_vacuum before:", mode, "(2 is INCREMENTAL)")
writer.execute("BEGIN IMMEDIATE")
found = {pragma: outcome(reader, pragma) for pragma in PRAGMAS}
writer.execute("COMMIT")
for pragma, what in found.items():
    print(f"while another connection writes: PRAGMA {pragma}: {what}")
before = os.path.getsize("items.db-wal")
for _ in range(10):
    reader.execute(f"PRAGMA {PRAGMAS[0]}")
grown = os.path.getsize("items.db-wal") - before
print("the write-ahead log after ten of the first:", grown, "bytes longer")
first, *others = found.values()
same = mode == 2 and first == "database is locked" and set(others) == {"passes"} and grown >= 10 * 4096
sys.exit(0 if same else "The behaviour has changed.")
PYTHON
