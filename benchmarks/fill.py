"""Fills a SQLite database with many sessions: the server creates a few, which are then copied."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from benchmarks.copies import Copy, copy_sessions
from benchmarks.ours import Ours, connected
from benchmarks.processes import sessions_server
from sessions_proto.v1 import sessions_pb2 as pb

DEVICES: Final = ("web", "ios", "android")
RARE: Final = 100
"""In every database, this many sessions have `vip` in their metadata."""

_APART_MICROS: Final = 1_000
_TEXT: Final = "Something that is worth a sentence or two. " * 4


def fill(folder: Path, *, sessions: int, messages: int = 0) -> None:
    """Starts a server on this folder and fills its database. With `messages`, each session has that many, and a
    context."""
    with sessions_server(folder) as process, connected(process) as server:
        patterns = {
            (device, vip): server.stub.CreateSession(_pattern(device, vip)).session.id
            for device in DEVICES
            for vip in (False, True)
        }
        if messages:
            for session_id in patterns.values():
                _converse(server, session_id, messages)
    with closing(sqlite3.connect(folder / "sessions.db")) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -500000")
        copy_sessions(database, _copies(patterns, sessions))
        database.commit()


def _pattern(device: str, vip: bool) -> pb.CreateSessionRequest:
    request = pb.CreateSessionRequest(user_id="benchmark")
    request.metadata.update({"device": device, **({"vip": True} if vip else {})})
    return request


def _converse(server: Ours, session_id: str, messages: int) -> None:
    said = [pb.Message(role="user", content=_TEXT) for _ in range(messages)]
    server.stub.AddMessages(pb.AddMessagesRequest(session_id=session_id, messages=said))
    request = pb.SetContextRequest(session_id=session_id)
    request.context.update({"task": "greeting", "summary": _TEXT})
    server.stub.SetContext(request)


def _copies(patterns: dict[tuple[str, bool], str], sessions: int) -> Iterator[Copy]:
    every = sessions // RARE
    for number in range(sessions):
        pattern = patterns[DEVICES[number % len(DEVICES)], number % every == 0]
        yield Copy(f"copy-{number:09}", pattern, (number - sessions) * _APART_MICROS)
