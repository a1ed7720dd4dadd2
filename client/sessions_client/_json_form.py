"""The plain form of models: values for `json.dumps`, under the field names of the protos."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any


class Model:
    """A value with a plain form."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the value as plain JSON values, under the field names of the protos.

        Times are RFC 3339 strings in UTC, durations are seconds, bytes are base64, enums are their names in lower case;
        absent values are None.
        """
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]  # every Model but a container is a dataclass

    def to_json(self, *, indent: int | None = None) -> str:
        """Returns `to_dict()` as a JSON string."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)


def plain(value: Any) -> Any:
    """Returns any value of a model's field as a plain JSON value."""
    match value:
        case Model():
            return value.to_dict()
        case Enum():
            return value.value
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            return _seconds(value)
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _ if is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value


def _seconds(span: timedelta) -> int | float:
    seconds = span.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds
