#!/usr/bin/env bash
# aiosqlite: an INSERT that timed out still runs, and the next commit stores it, whoever commits.
#
# One would expect a time limit around an INSERT and its commit to leave the database as it was: the caller gets
# TimeoutError, nothing was committed, and a driver such as asyncpg cancels the statement. aiosqlite only stops waiting.
# The statement stays in the queue of the connection's thread, runs as soon as the database is free, and leaves a
# transaction open. Where requests share a connection, the next one's commit stores the payment that was reported as
# failed, and after a retry it is there twice. A caller that hangs up has the same effect if the framework then cancels
# the handler, as grpc.aio does. Roll back in `except BaseException`, and let one task at a time use the connection,
# because a rollback also undoes what another task has not committed yet; or open a connection for each transaction.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'aiosqlite==0.22.1'
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^aiosqlite '
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import sqlite3
import sys
from pathlib import Path

import aiosqlite

LIMIT = 0.2
BUSY = 0.6
"""How many seconds a payment may take, and for how many another program has the database locked."""


async def pay(shared, name):
    await shared.execute("INSERT INTO payments VALUES (?)", (name,))
    await shared.commit()


async def pay_or_roll_back(shared, name):
    try:
        await pay(shared, name)
    except BaseException:
        await shared.rollback()
        raise


async def pay_on_own_connection(shared, name):
    async with aiosqlite.connect(FILE) as own:
        await pay(own, name)


async def show(what, pay, *names):
    """Stores the payments one after another; the first one exceeds its time limit."""
    FILE.unlink(missing_ok=True)
    other = sqlite3.connect(FILE, isolation_level=None)
    other.execute("CREATE TABLE payments (name TEXT)")
    async with aiosqlite.connect(FILE) as shared:
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(BUSY, other.execute, "COMMIT")
        outcomes = []
        for name in names:
            try:
                async with asyncio.timeout(None if outcomes else LIMIT):
                    await pay(shared, name)
                outcomes.append(f"{name} paid")
            except TimeoutError:
                outcomes.append(f"{name} failed")
    stored = [name for [name] in other.execute("SELECT name FROM payments")]
    print(f"{what}: {', '.join(outcomes)}; stored: {' '.join(stored)}")
    other.close()


async def main():
    await show("two customers", pay, "Ann", "Bob")
    await show("a retry", pay, "Ann", "Ann")
    await show("with a rollback", pay_or_roll_back, "Ann", "Ann")
    await show("with a connection for each", pay_on_own_connection, "Ann", "Ann")


FILE = Path(sys.argv[1])
asyncio.run(main())
PYTHON
seen=$("$folder/venv/bin/python" "$folder/program.py" "$folder/payments.db")
echo "$seen"
expected="two customers: Ann failed, Bob paid; stored: Ann Bob
a retry: Ann failed, Ann paid; stored: Ann Ann
with a rollback: Ann failed, Ann paid; stored: Ann
with a connection for each: Ann failed, Ann paid; stored: Ann"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
