#!/usr/bin/env bash
# Alembic: two upgrades at the same time, in two threads, write to the wrong database.
#
# One would expect two `Config` objects with two connections to have nothing in common, and at worst an error. `env.py`
# and the migrations speak to `alembic.context` and `alembic.op`, which are proxies in module globals: the upgrade that
# begins last takes over both. The migration of the first thread then runs on the connection of the second, and the
# first database stays without its tables. It matters to programs that open several databases, one for each tenant or
# test: they work while one is opened after another, and fail, or change the wrong database, when two are opened
# together. Put a lock around the upgrades of one process, or run each in a process of its own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'alembic==1.20.1' 'sqlalchemy==2.1.9'
cd "$folder"
mkdir versions
cat > env.py <<'PYTHON'
from alembic import context

attributes = context.config.attributes
context.configure(connection=attributes["connection"])
attributes["configured"]()
with context.begin_transaction():
    context.run_migrations()
PYTHON
cat > versions/1.py <<'PYTHON'
from alembic import op

revision = "1"
down_revision = None


def upgrade():
    op.execute("CREATE TABLE items (id INTEGER)")
PYTHON
venv/bin/python - <<'PYTHON'
import sys
import threading

import alembic
import sqlalchemy
from alembic import command
from alembic.config import Config


def upgrade(name, configured, errors):
    engine = sqlalchemy.create_engine(f"sqlite:///{name}.db")
    config = Config()
    config.set_main_option("script_location", ".")
    try:
        with engine.begin() as connection:
            config.attributes.update(connection=connection, configured=configured)
            command.upgrade(config, "head")
    except Exception as error:
        errors.append(f"{name}: {type(error).__name__}")


def tables_after(together):
    """The number of tables `items` in the two databases, after both were upgraded."""
    names = [f"{'together' if together else 'in turn'} {number}" for number in (1, 2)]
    errors = []
    configured = threading.Barrier(2).wait if together else lambda: None
    threads = [threading.Thread(target=upgrade, args=(name, configured, errors)) for name in names]
    for thread in threads:
        thread.start()
        if not together:
            thread.join()
    for thread in threads:
        thread.join()
    found = []
    for name in names:
        tables = sqlalchemy.inspect(sqlalchemy.create_engine(f"sqlite:///{name}.db")).get_table_names()
        found.append("items" in tables)
        print(f"{name}: {'upgraded' if found[-1] else 'without its table'}")
    print(f"errors: {errors or 'none'}")
    return found


print("alembic", alembic.__version__)
in_turn, together = tables_after(together=False), tables_after(together=True)
sys.exit(0 if all(in_turn) and not all(together) else "The behaviour has changed.")
PYTHON
