"""Completes session ids by asking the server, with a short time limit."""

from __future__ import annotations

import os
import threading
from typing import Final

SECONDS: Final = 1.0
"""The longest wait for a server after a press of Tab."""

LONGEST_SECONDS: Final = 2.0
"""After which the program ends in any case: a database file may have a server that does not start."""

MOST: Final = 100


def complete_ids(incomplete: str) -> list[str]:
    """The ids of recently changed sessions with this prefix; empty if the server does not respond in time."""
    guard = threading.Timer(LONGEST_SECONDS, os._exit, [0])
    guard.daemon = True
    guard.start()
    try:
        from sessions_cli.profiles import chosen_profile
        from sessions_client import TLS, Client

        profile = chosen_profile(None, address=None)
        tls: bool | TLS = TLS(ca=profile.ca) if profile.ca else profile.tls
        with Client(profile.address, token=profile.bearer_token(), tls=tls, timeout=SECONDS) as client:
            found = client.sessions.list(order_by="update_time desc", limit=MOST)
            return [each.id for each in found if each.id.startswith(incomplete)]
    except Exception:  # a shell's completion is no place to report errors
        return []
    finally:
        guard.cancel()
