"""The lines of the log, for people and for programs."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from sessions_server.observability import ConsoleFormatter, JsonFormatter


def record(text: str, *arguments: object, **facts: object) -> logging.LogRecord:
    made = logging.LogRecord("a", logging.WARNING, "", 1, text, arguments, None)
    made.created = 1.25
    return logging.makeLogRecord(made.__dict__ | ({"facts": facts} if facts else {}))


def failed(text: str) -> logging.LogRecord:
    try:
        raise ValueError("why")
    except ValueError:
        return logging.LogRecord("a", logging.ERROR, "", 1, text, None, sys.exc_info())


def of_program(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_for_programs_is_one_object_with_the_facts() -> None:
    line = JsonFormatter({"worker": 3}).format(record("%s broke", "it", code="OK", seconds=0.5))
    assert of_program(line) == {
        "event": "it broke",
        "code": "OK",
        "seconds": 0.5,
        "worker": 3,
        "level": "warning",
        "timestamp": "1970-01-01T00:00:01.250000Z",
    }


def test_a_traceback_is_part_of_the_object_for_programs() -> None:
    line = JsonFormatter({}).format(failed("call"))
    assert "\n" not in line
    assert of_program(line)["exception"].endswith("ValueError: why")


def test_a_line_for_people_ends_with_the_facts() -> None:
    line = ConsoleFormatter({"worker": 3}, colored=False).format(record("call", code="OK"))
    assert line.split() == ["1970-01-01T00:00:01.250000Z", "[warning", "]", "call", "code=OK", "worker=3"]


def test_a_traceback_follows_the_line_for_people() -> None:
    first, *rest = ConsoleFormatter({}, colored=False).format(failed("call")).splitlines()
    assert first.endswith("[error   ] call")
    assert rest[-1] == "ValueError: why"


def test_control_characters_cannot_forge_lines_or_reach_the_terminal() -> None:
    line = ConsoleFormatter({}, colored=False).format(record("a\n%s", "\x1b[31m", who="b\r\nc"))
    assert line.isprintable()
    assert r"a\n\x1b[31m" in line
    assert r"who=b\r\nc" in line


def test_colors_are_for_terminals() -> None:
    coloured, plain = (
        ConsoleFormatter({}, colored=colored).format(record("call", code="OK")) for colored in (True, False)
    )
    assert "\x1b[33mwarning" in coloured
    assert "\x1b" not in plain
