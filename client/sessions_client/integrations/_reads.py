"""Any number of reads in as few calls as possible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from sessions_client import LEFT_OUT, RecordName, ops

if TYPE_CHECKING:
    from sessions_client.integrations._steps import Steps

READS: Final = 100
"""The limit of one call."""
PAGE: Final = 1_000
"""The limit of one page of a listing, which the server ends earlier at about 3 MiB."""


def read_all(reads: Sequence[ops.Read]) -> Steps[list[Any]]:
    """The results of the reads, in order."""
    found: list[Any] = [LEFT_OUT] * len(reads)
    pending = list(range(len(reads)))
    while pending:
        asked, later = pending[:READS], pending[READS:]
        wanted = [reads[index] for index in asked]
        for index, result in zip(asked, (yield _reading(wanted)), strict=True):
            found[index] = result
        pending = [index for index in asked if found[index] is LEFT_OUT] + later
    return found


def fetch(names: Iterable[RecordName]) -> Steps[dict[RecordName, bytes]]:
    """The values of those records that exist."""
    distinct = list(dict.fromkeys(names))
    records = yield from read_all([ops.read_record(name) for name in distinct])
    return {name: record.value for name, record in zip(distinct, records, strict=True) if record is not None}


def read_lists(queries: Sequence[dict[str, Any]]) -> Steps[list[list[Any]]]:
    """The records of each listing, from all its pages. A query has the arguments of `ops.list_records`."""
    found: list[list[Any]] = [[] for _ in queries]
    pending = dict.fromkeys(range(len(queries)), "")
    while pending:
        pages = yield from read_all(
            [list_of(queries[index], page_token=token) for index, token in pending.items()]
        )
        for index, page in zip(list(pending), pages, strict=True):
            found[index].extend(page or ())
            token = page.next_page_token if page is not None else ""
            if token:
                pending[index] = token
            else:
                del pending[index]
    return found


def list_of(query: dict[str, Any], *, page_token: str = "") -> ops.Read:
    """A read of one page of a listing, as large as the server allows."""
    return ops.list_records(**{"page_size": PAGE, **query}, page_token=page_token or None)


def _reading(reads: Sequence[ops.Read]) -> Any:
    return lambda client: client.sessions.read(*reads)
