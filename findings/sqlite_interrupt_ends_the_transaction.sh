#!/usr/bin/env bash
# SQLite: a time limit on one statement undoes the whole transaction, and Python's `commit` then stores the rest.
#
# One would expect a statement that is interrupted to be undone and its transaction to stay open, as after a constraint
# violation, or later statements to be refused, as in PostgreSQL. When an INSERT, UPDATE or DELETE is stopped by
# `interrupt()` or a progress handler, which are SQLite's ways to limit the time of a statement, SQLite rolls back
# everything since BEGIN. A program that catches the error and continues is no longer in its transaction: Python opens
# another for the next statement, and `commit` returns without an error. So half of what belonged together is stored.
# After any error look at `in_transaction`, and start over if it is false.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/program.py" <<'PYTHON'
import platform
import sqlite3


def show(what, statement, limited):
    """A payment, a statement that fails and is caught, and the entry that belongs to the payment."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE entries (name TEXT UNIQUE)")
    connection.execute("CREATE TABLE cache (value INTEGER)")
    connection.executemany("INSERT INTO cache VALUES (?)", [(number,) for number in range(100_000)])
    connection.commit()
    connection.execute("INSERT INTO entries VALUES ('payment')")
    if limited:
        connection.set_progress_handler(lambda: True, 10_000)  # a time limit that has passed
    try:
        connection.execute(statement)
    except sqlite3.Error as error:
        print(f"{what}: {error}; in a transaction: {connection.in_transaction}")
    connection.set_progress_handler(None, 0)
    connection.execute("INSERT INTO entries VALUES ('receipt')")
    connection.commit()
    print("  stored:", *(name for [name] in connection.execute("SELECT name FROM entries")))


print("Python", platform.python_version(), "with SQLite", sqlite3.sqlite_version)
show("a constraint", "INSERT INTO entries VALUES ('payment')", limited=False)
show("a time limit on a read", "SELECT sum(value) FROM cache", limited=True)
show("a time limit on a write", "UPDATE cache SET value = value + 1", limited=True)
PYTHON
seen=$(python3 "$folder/program.py")
echo "$seen"
expected="a constraint: UNIQUE constraint failed: entries.name; in a transaction: True
  stored: payment receipt
a time limit on a read: interrupted; in a transaction: True
  stored: payment receipt
a time limit on a write: interrupted; in a transaction: False
  stored: receipt"
[ "$(tail -n +2 <<< "$seen")" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
