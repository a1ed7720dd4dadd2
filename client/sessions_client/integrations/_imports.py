"""Imports conversations from a framework's own store: the part that all such programs share.

An import can be stopped and run again at any time: existing data is compared and not written twice.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeAlias

from sessions_client import AsyncClient, Message, NotFound, SessionsError, ops
from sessions_client.integrations import _payloads as payloads
from sessions_client.integrations._target import add_target, client_of

_EVERYTHING: Final = 2**31 - 1
_CONNECT_SECONDS: Final = 5
_BATCH: Final = 200
_BATCH_BYTES: Final = 2 * 1024 * 1024
_INTERRUPTED: Final = 130
"""The exit code of a shell's command that Ctrl-C ended."""


class Outcome(Enum):
    """The result for one conversation."""

    IMPORTED = "imported"
    PRESENT = "already there"
    DIFFERENT = "left as it is, since it has other content here"


Outcomes: TypeAlias = AsyncIterator[tuple[str, Outcome]]
"""The name and result of each conversation."""


class UnusableSource(Exception):
    """The source cannot be read; the text says why and what to do."""


def reason(error: Exception) -> str:
    """What a driver's error says, without the query and the links that some add, and without a full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def note(text: str) -> None:
    """Tells the program's user what an import leaves out."""
    sys.stderr.write(f"{text}\n")


def run(framework: str, source: str, importing: Callable[[AsyncClient, str], Outcomes]) -> None:
    """Runs the program `python -m … import SOURCE`; exits with 1 if something could not be imported, and with
    130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog=f"python -m sessions_client.integrations.{framework}",
        description="Imports what the framework's own store holds. It can be stopped and run again at any time. "
        "SESSIONS_TOKEN is the token for the server, where one is needed.",
    )
    parser.add_argument("command", choices=["import"])
    parser.add_argument("source", metavar=source.upper(), help="where the conversations are")
    add_target(parser)
    options = parser.parse_args()
    try:
        counts = asyncio.run(_all(options, importing))
    except (SessionsError, UnusableSource) as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        note("Interrupted. Run it again to continue.")
        sys.exit(_INTERRUPTED)
    sys.exit(1 if counts[Outcome.DIFFERENT] else 0)


async def _all(
    options: argparse.Namespace, importing: Callable[[AsyncClient, str], Outcomes]
) -> Counter[Outcome]:
    counts: Counter[Outcome] = Counter()
    async with client_of(options, connect_timeout=_CONNECT_SECONDS) as client:
        # Shows a wrong address or token even if there is nothing to import.
        await client.sessions.list(limit=1)
        async for name, outcome in importing(client, options.source):
            counts[outcome] += 1
            if outcome is Outcome.DIFFERENT:
                note(f"{name!r} is {outcome.value}.")
    imported, present = counts[Outcome.IMPORTED], counts[Outcome.PRESENT]
    sys.stdout.write(
        f"{imported} imported, {present} already there, {counts[Outcome.DIFFERENT]} different.\n"
    )
    return counts


def existing_file(source: str) -> Path:
    """The file at a path. Raises UnusableSource if there is none."""
    path = Path(source)
    if not path.is_file():
        raise UnusableSource(f"There is no file {source!r}. Name the database file of the framework's store.")
    return path


async def import_history(
    client: AsyncClient,
    session_id: str,
    create: ops.NewSession,
    items: Sequence[Any],
    dump: Callable[[Any], bytes],
    readable: Callable[[Any, int], dict[str, Any]],
) -> Outcome:
    """Appends the missing items, in order."""
    wanted = [dump(item) for item in items]

    async def read() -> tuple[Sequence[Message] | None, list[bytes]]:
        try:
            messages = await client.sessions.get_history(session_id, limit=_EVERYTHING)
        except NotFound:
            return None, []
        return messages, await payloads.unpack(client, session_id, messages)

    messages, stored = await payloads.read_with_parts(read)
    common = min(len(stored), len(wanted))
    if stored[:common] != wanted[:common]:
        return Outcome.DIFFERENT
    if messages is not None and common == len(wanted):
        return Outcome.PRESENT
    head = messages[-1].sequence if messages else 0
    for batch in _batches(wanted, start=common):
        shown = [readable(items[place], len(batch)) for place in batch]
        values = [wanted[place] for place in batch]
        unchanged = ops.if_history_head(head)
        committed = await payloads.commit(
            client, session_id, values, shown, create=create, conditions=[unchanged]
        )
        head = committed.results[-1].sequence if values else head
    return Outcome.IMPORTED


def _batches(values: Sequence[bytes], *, start: int) -> Iterator[range]:
    """The range of values of each commit; a single empty range if there are none."""
    first, size = start, 0
    for place in range(start, len(values)):
        if place > first and (place - first == _BATCH or size + len(values[place]) > _BATCH_BYTES):
            yield range(first, place)
            first, size = place, 0
        size += len(values[place])
    yield range(first, len(values))
