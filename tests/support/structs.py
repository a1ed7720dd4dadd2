"""JSON objects as they are on the wire."""

from __future__ import annotations

from typing import Any

from google.protobuf.struct_pb2 import Struct, Value


def struct(values: dict[str, Any] | None = None, /, **more: Any) -> Struct:
    """The object with these values, given as for `dict`."""
    made = Struct()
    made.update({**(values or {}), **more})
    return made


def numbered(number: float) -> Struct:
    """An object with a number that JSON may not have."""
    return Struct(fields={"n": Value(number_value=number)})


def nested(levels: int) -> dict[str, Any]:
    """An object that nests this many levels, including itself."""
    made: dict[str, Any] = {}
    for _ in range(levels - 1):
        made = {"a": made}
    return made
