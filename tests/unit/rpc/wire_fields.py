"""The fields of messages from their descriptors, so that no test has to list them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message


def leaf(field: Any) -> bool:
    """Scalars, and messages that represent one value: times, durations, JSON."""
    return field.message_type is None or field.message_type.file.package == "google.protobuf"


def unset(message: Message, prefix: str = "") -> Iterator[str]:
    """The paths of the fields without a value; of a oneof only if none is set."""
    present = {field.name: value for field, value in message.ListFields()}
    for field in message.DESCRIPTOR.fields:
        path = f"{prefix}{field.name}"
        oneof = field.containing_oneof
        if field.name not in present:
            if oneof is None or message.WhichOneof(oneof.name) is None:
                yield path
        elif not leaf(field):
            parts = present[field.name]
            for part in parts if field.is_repeated else [parts]:
                yield from unset(part, path + ".")


def settable(message: Message, prefix: str = "") -> Iterator[tuple[str, Message, str]]:
    """The path of every leaf, its message, and its name there; only within messages that are set."""
    for field in message.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        if oneof is not None and message.WhichOneof(oneof.name) != field.name:
            continue
        if leaf(field):
            yield f"{prefix}{field.name}", message, field.name
        elif field.is_repeated:
            for part in getattr(message, field.name):
                yield from settable(part, f"{prefix}{field.name}.")
        elif message.HasField(field.name):
            yield from settable(getattr(message, field.name), f"{prefix}{field.name}.")


def leaves(descriptor: Any) -> set[str]:
    """The full names of all leaves below a message type."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [descriptor]
    while waiting:
        current = waiting.pop()
        if current.full_name in seen:
            continue
        seen.add(current.full_name)
        for field in current.fields:
            if leaf(field):
                found.add(field.full_name)
            else:
                waiting.append(field.message_type)
    return found
