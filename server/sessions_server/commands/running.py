"""Runs asynchronous work on a database and shows its progress."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from sessions_server.domain.errors import SetupError

if TYPE_CHECKING:
    from sessions_server.settings import Settings
    from sessions_server.storage.backend import Backend

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs on uvloop if it is installed. Nothing is logged unless the work configures logging."""
    gc.freeze()  # what was imported stays, so the collector need not look at it
    logging.getLogger().addHandler(logging.NullHandler())
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work)


def make_gc_rare() -> None:
    """Makes garbage collections rare, in a process that is only a server or a command. A call allocates hundreds of
    objects that reference counting frees, and an import thousands that stay; at the default thresholds the collector
    takes much of a start's and of a loaded server's CPU time."""
    gc.set_threshold(50_000, 20, 100)


def use_all_descriptors() -> None:
    """Raises the limit of open files to what this process may use. Each connection needs one, and the limit that most
    systems begin with, 1,024, is for programs that use `select`."""
    try:
        import resource
    except ImportError:  # on Windows, which has no such limit
        return
    with suppress(OSError, ValueError):  # macOS refuses its own highest value
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def new_loop() -> asyncio.AbstractEventLoop:
    """A uvloop event loop if uvloop is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def require_database(settings: Settings) -> Backend:
    """The database of the settings. Raises SetupError if opening it would create a new one."""
    from sessions_server.storage.databases import parse_url

    backend = parse_url(settings.database_url)
    backend.check()
    if backend.is_missing():
        raise SetupError(
            f"There is no database at {settings.database_url}; name one with --database-url or SESSIONS_DATABASE_URL."
        )
    return backend


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, if that is a terminal. Call it with the number of items done."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda behind: bar.update(task, completed=behind)
