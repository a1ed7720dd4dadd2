"""The programs that need an extra: without it, they end with the sentence that names it."""

from __future__ import annotations

import sys
from importlib import import_module


def sessions_task() -> None:
    """Runs tasks."""
    _run("sessions_tasks.__main__")


def sessions_mcp() -> None:
    """Runs the MCP server."""
    _run("sessions_client.integrations.mcp")


def _run(module: str) -> None:
    try:
        program = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None:  # the interpreter's own error: a module of the project is missing
            raise
        sys.exit(f"{error}")
    program.main()
