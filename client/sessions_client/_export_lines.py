"""The file format of exports: one line of JSON per record, for one or many sessions, as `sessions-server export` writes
it.

The first line identifies the format. The last one, present only in a complete file, has the number of sessions and the
digest of every byte before it. A server's file may also contain parts that clients cannot use: encrypted sessions, the
shared records of users and tenants, and the names of damaged sessions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sessions_client._errors import refused

FORMAT = "sessions.v1.export"

_RECORDS = ("header", "context", "messages", "records", "footer")
_FIRST_LINE = f'{{"format":"{FORMAT}"}}\n'


def write_lines(records: Iterable[Mapping[str, Any]]) -> str:
    """The file for one session."""
    text = _FIRST_LINE + "".join(_line(record) for record in records)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return text + _line({"end": {"count": 1, "sha256": digest}})


def is_lines(text: str) -> bool:
    """Whether the text is such a file rather than one JSON document."""
    return text.startswith(_FIRST_LINE)


def read_lines(text: str) -> list[list[dict[str, Any]]]:
    """The records of each session in a file. Raises InvalidArgument if the file is incomplete or altered, or has an
    encrypted session."""
    *lines, rest = text.split("\n")
    values = [_value(number, line) for number, line in enumerate(lines, 1)]
    end = values.pop()
    if rest or "end" not in end:
        raise refused("session_data", "is incomplete; export it again.")
    digest = hashlib.sha256(text[: -len(lines[-1]) - 1].encode()).hexdigest()
    if not isinstance(end["end"], dict) or end["end"].get("sha256") != digest:
        raise refused("session_data", "was altered after the export. Export it again.")
    sessions: list[list[dict[str, Any]]] = []
    is_session = False
    for value in values[1:]:
        is_session = "header" in value or (is_session and "scope" not in value)
        if "header" in value:
            sessions.append([])
        if "key" in value and is_session:
            raise refused(
                "session_data",
                "holds an encrypted session, which needs the keyring; import it with `sessions-server import`.",
            )
        if is_session and (kind := next((each for each in _RECORDS if each in value), None)):
            sessions[-1].append({kind: value[kind]})
    return sessions


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def _value(number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise refused("session_data", f"is not valid JSON in line {number}.") from exc
    if not isinstance(value, dict):
        raise refused("session_data", f"must have a JSON object in line {number}.")
    return value
