"""What to say when a package is not installed: `pip install sessions` brings those of the client alone."""

from __future__ import annotations

from typing import Final

_EXTRAS: Final = {"asyncpg": "postgres", "greenlet": "postgres", "nats": "nats"}
"""The extra of a package; all others are in `server`."""


def sentence_for(error: ImportError) -> str:
    """How to install what is missing. Raises the error itself for a module of the project, since that is a bug."""
    # SQLAlchemy replaces the error about greenlet by one without a name.
    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    package = (cause.name or "").partition(".")[0]
    if not package or package.startswith("sessions_"):
        raise error
    extra = _EXTRAS.get(package, "server")
    return f"sessions-server: The server needs {package}; install it with `pip install 'sessions[{extra}]'`."
