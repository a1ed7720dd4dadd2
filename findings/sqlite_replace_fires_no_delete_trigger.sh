#!/usr/bin/env bash
# SQLite: `INSERT OR REPLACE` deletes a row and its children, and fires no delete trigger, so a search index keeps it.
#
# One would expect the old row's deletion to be one for triggers too, as it is for foreign keys: `ON DELETE CASCADE`
# takes the children with it. Delete triggers fire only if `PRAGMA recursive_triggers` is on, and it is off by default.
# A full-text index that triggers keep up to date, as SQLite's documentation shows, therefore still holds the words that
# were replaced. An agent's memory that saves with `INSERT OR REPLACE` finds "likes tea" when it looks for coffee, the
# words that a user had corrected stay in the file even after the row is deleted, and FTS5's own check calls the index
# malformed. Use `INSERT … ON CONFLICT DO UPDATE`, which updates the row and fires its triggers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/program.py" <<'PYTHON'
import platform
import sqlite3

TABLES = """
CREATE TABLE memories (id INTEGER PRIMARY KEY, text TEXT);
CREATE TABLE sources (memory INTEGER REFERENCES memories ON DELETE CASCADE);
CREATE VIRTUAL TABLE words USING fts5(text, content=memories, content_rowid=id);
CREATE TRIGGER added AFTER INSERT ON memories BEGIN
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER removed AFTER DELETE ON memories BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER changed AFTER UPDATE ON memories BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
INSERT INTO memories VALUES (1, 'likes coffee');
INSERT INTO sources VALUES (1);
"""
REPLACE = "INSERT OR REPLACE INTO memories VALUES (1, 'likes tea')"
UPSERT = "INSERT INTO memories VALUES (1, 'likes tea') ON CONFLICT (id) DO UPDATE SET text = excluded.text"


def show(what, statement, recursive="OFF"):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA recursive_triggers = {recursive}")
    connection.executescript(TABLES)
    connection.execute(statement)
    found = connection.execute("SELECT text FROM words WHERE words MATCH 'coffee'").fetchall()
    [sources] = connection.execute("SELECT count(*) FROM sources").fetchone()
    try:
        connection.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
        check = "passes"
    except sqlite3.DatabaseError as error:
        check = str(error)
    print(f"{what}: 'coffee' finds {found}; sources: {sources}; check: {check}")


print("Python", platform.python_version(), "with SQLite", sqlite3.sqlite_version)
show("INSERT OR REPLACE", REPLACE)
show("with recursive_triggers", REPLACE, "ON")
show("ON CONFLICT DO UPDATE", UPSERT)
PYTHON
seen=$(python3 "$folder/program.py")
echo "$seen"
expected="INSERT OR REPLACE: 'coffee' finds [('likes tea',)]; sources: 0; check: database disk image is malformed
with recursive_triggers: 'coffee' finds []; sources: 0; check: passes
ON CONFLICT DO UPDATE: 'coffee' finds []; sources: 1; check: passes"
[ "$(tail -n +2 <<< "$seen")" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
