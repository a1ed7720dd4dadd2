#!/usr/bin/env bash
# Python's sqlite3: `execute("PRAGMA incremental_vacuum(100)")` gives back one page, not a hundred.
#
# One would expect the pragma to do what its documentation says, as it does in the `sqlite3` shell: free up to N pages.
# In SQLite each step of the statement frees one page, and Python's `execute` stops after the first step that returns no
# row; fetching does not continue it. Nothing fails: the pragma succeeds, the file shrinks by 4 KiB, and in a service
# that runs it every few seconds, deletes leave more free pages than it gives back. `executescript` runs the statement
# to its end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 - <<'PYTHON'
import platform
import sqlite3
import sys


def freed(name, run):
    """How many of the 100 requested pages are freed."""
    connection = sqlite3.connect(f"{name}.db", isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("CREATE TABLE items (value TEXT)")
    connection.executemany("INSERT INTO items VALUES (?)", [("x" * 3000,)] * 500)
    connection.execute("DELETE FROM items")
    [before] = connection.execute("PRAGMA freelist_count").fetchone()
    run(connection)
    [after] = connection.execute("PRAGMA freelist_count").fetchone()
    print(f"{name}: {before - after} of {before} unused pages given back")
    return before - after


VACUUM = "PRAGMA incremental_vacuum(100)"
print("Python", platform.python_version(), "with SQLite", sqlite3.sqlite_version)
found = [
    freed("execute", lambda connection: connection.execute(VACUUM)),
    freed("execute and fetchall", lambda connection: connection.execute(VACUUM).fetchall()),
    freed("executescript", lambda connection: connection.executescript(VACUUM)),
]
sys.exit(0 if max(found[:2]) <= 2 and found[2] == 100 else "The behaviour has changed.")
PYTHON
