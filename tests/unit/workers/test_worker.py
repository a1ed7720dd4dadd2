"""What a worker receives from the supervisor: its settings, and its end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from sessions_server.commands import worker
from sessions_server.settings import LogFormat, Settings, from_json, to_json

HANGS = f"""
import signal, socket, sys
from {worker.__name__} import _stop_with_the_parent
signal.signal(signal.SIGTERM, lambda *_: print("drains", flush=True))
_stop_with_the_parent(socket.socket(fileno=0), grace_seconds=-{worker.KILL_SECONDS})
"""


def test_settings_arrive_unchanged() -> None:
    given = Settings(
        database_url="postgresql://u:p%40ss@h/d",
        keyring=Path("keyring.json"),
        drain_grace=timedelta(milliseconds=1500),
        poll_interval=timedelta(microseconds=1),
        log_format=LogFormat.JSON,
        insecure=True,
        workers=3,
    )
    assert from_json(to_json(given)) == given


def test_a_worker_that_does_not_end_after_its_parent_is_killed() -> None:
    parent, end = socket.socketpair()
    parent.close()
    with end:
        done = subprocess.run(
            [sys.executable, "-c", HANGS], stdin=end.fileno(), capture_output=True, text=True, check=False
        )
    assert done.stdout == "drains\n", done.stderr
    assert done.returncode == -signal.SIGKILL
