"""Converts responses with many values in a thread, like large requests, so that they do not block the event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sessions_server.domain.models import Message
from sessions_server.domain.operations import Removed
from sessions_server.domain.ports import HistoryPage
from sessions_server.domain.reads import ContextRead
from sessions_server.domain.transfer import ContextRecord, MessagesRecord
from sessions_server.rpc.convert.common import beside_loop

if TYPE_CHECKING:
    from sessions_server.domain.commit import Committed
    from sessions_server.domain.models import Session
    from sessions_server.domain.reads import ReadResult
    from sessions_server.domain.transfer import ExportRecord

T = TypeVar("T")

MANY: Final = 4_000
"""How many JSON values to convert in the event loop; they take a few milliseconds."""

_CONTAINERS: Final = frozenset({dict, list})


async def converted(convert: Callable[..., T], *arguments: Any, of: Iterable[object]) -> T:
    """The result of `convert`, which runs in a thread if it converts many values; `of` is their JSON."""
    if are_many(of):
        return await beside_loop(convert, *arguments)
    return convert(*arguments)


def are_many(values: Iterable[object]) -> bool:
    """Whether these contain MANY values or more. Stops counting there."""
    left, waiting = MANY, [each for each in values if type(each) in _CONTAINERS]
    while waiting:
        container: Any = waiting.pop()
        left -= len(container)
        if left <= 0:
            return True
        inner = container.values() if type(container) is dict else container
        waiting += [each for each in inner if type(each) in _CONTAINERS]
    return False


def data_of(messages: Iterable[Message]) -> Iterator[object]:
    return (each.body.data for each in messages)


def metadata_of(sessions: Iterable[Session]) -> Iterator[object]:
    return (each.metadata for each in sessions)


def json_of(found: Iterable[ReadResult]) -> Iterator[object]:
    """The JSON in the results of reads."""
    for each in found:
        match each:
            case ContextRead(context, _):
                yield context.data
            case HistoryPage(messages, _):
                yield from data_of(messages)
            case Message(body=body):
                yield body.data


def json_of_committed(committed: Committed) -> Iterator[object]:
    """The JSON in the result of a commit."""
    for result in committed.results:
        if isinstance(result, Removed):
            yield from data_of(result.messages)
    yield from json_of(committed.reads)


def json_of_record(record: ExportRecord) -> Iterator[object]:
    """The JSON in part of an export."""
    match record:
        case ContextRecord(data):
            yield data
        case MessagesRecord(messages):
            yield from data_of(messages)
