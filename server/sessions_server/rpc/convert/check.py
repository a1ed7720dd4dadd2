"""Validation of requests: reports every violation at once, in sentences that say what to do.

A Check collects violations while a request is read, and raises them at the end: sizes first, then everything else. The
sentences never repeat what callers sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from sessions_server.domain.context import Path, measure, parse_path
from sessions_server.domain.errors import InvalidRequest, LimitExceeded, Violation
from sessions_server.domain.jsonbytes import dumps
from sessions_server.domain.limits import MAX_DEPTH, Limits
from sessions_server.domain.models import SECOND, ClaimedTime, Json, JsonObject, Micros
from sessions_server.rpc.convert.values import Refuse, read_number, read_struct, read_value

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.struct_pb2 import Struct, Value
    from google.protobuf.timestamp_pb2 import Timestamp

T = TypeVar("T")

REQUEST_ID_CHARACTERS: Final = 128
LOG_ID_CHARACTERS: Final = 256
ETAG_CHARACTERS: Final = 128
VIOLATIONS: Final = 64
"""More than fit into a response; a request can contain a million."""

_ID: Final = re.compile(r"[A-Za-z0-9._~:@-]{1,128}")
_USER_ID: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,256}")
_FIRST_SECOND: Final = -62_135_596_800
_LAST_SECOND: Final = 253_402_300_799
"""A Timestamp covers the years 1 to 9999."""

_UNITS: Final = (("year", 365 * 86_400), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_ID_SENTENCE: Final = "Must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -"


class Check:
    """The violations found in one request. Each method returns the value that it checked."""

    __slots__ = ("_oversize", "_violations", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._oversize: LimitExceeded | None = None
        self._violations: list[Violation] = []

    def done(self) -> None:
        """Raises LimitExceeded if something is too large, else InvalidRequest if something is wrong."""
        if self._oversize is not None:
            raise self._oversize
        if self._violations:
            raise InvalidRequest(self._violations)

    def wrong(self, field: str, sentence: str) -> None:
        violation = Violation(field, sentence)
        if len(self._violations) < VIOLATIONS and violation not in self._violations:
            self._violations.append(violation)

    def too_large(self, field: str, sentence: str) -> None:
        if self._oversize is None:
            self._oversize = LimitExceeded.of_field(field, sentence)

    def id(self, field: str, text: str) -> str:
        if not _ID.fullmatch(text):
            self.wrong(field, _ID_SENTENCE)
        return text

    def user_id(self, field: str, text: str) -> str:
        if not _USER_ID.fullmatch(text):
            self.wrong(field, "Must be 1 to 256 characters without control characters.")
        return text

    def text(self, field: str, text: str, most: int) -> str:
        if len(text) > most:
            self.wrong(field, f"Must be at most {most:,} characters.")
        return text

    def stored_text(self, field: str, text: str, most: int) -> str:
        """A string that every database can store; PostgreSQL allows no U+0000."""
        if "\0" in text:
            self.wrong(field, "Must not contain U+0000.")
        return self.text(field, text, most)

    def not_negative(self, field: str, number: int) -> int:
        if number < 0:
            self.wrong(field, "Must not be negative.")
        return number

    def known(self, field: str, number: int, names: Mapping[int, T], default: T | None = None) -> T | None:
        """The domain value of an enum number. 0 means the default, and is a violation where there is none."""
        if number == 0 and default is not None:
            return default
        meaning = names.get(number)
        if meaning is None:
            self.wrong(field, "Must be one of the named values of this enum.")
        return meaning

    def span(self, field: str, given: Duration) -> Micros:
        """A duration within the limits, truncated to microseconds."""
        return self.span_between(field, given, self.limits.shortest_span, self.limits.longest_span)

    def span_between(self, field: str, given: Duration, shortest: Micros, longest: Micros) -> Micros:
        """A duration of at least `shortest` and at most `longest`, truncated to microseconds."""
        seconds, nanos = given.seconds, given.nanos
        span = Micros(seconds * SECOND + nanos // 1000)
        well_formed = 0 <= nanos < 1_000_000_000
        rest = Micros(nanos % 1000 > 0)  # what truncation would hide from the upper limit
        if not (well_formed and shortest <= span <= longest - rest):
            self.wrong(field, f"Must be between {_in_words(shortest)} and {_in_words(longest)}.")
        return span

    def time(self, field: str, given: Timestamp) -> ClaimedTime:
        if not (_FIRST_SECOND <= given.seconds <= _LAST_SECOND and 0 <= given.nanos < 1_000_000_000):
            self.wrong(field, "Must be a time in the years 1 to 9999, with 0 to 999,999,999 nanoseconds.")
        return ClaimedTime(given.seconds, given.nanos)

    def creation(self, field: str, given: Timestamp) -> None:
        """The creation time of a session. The end of its ttl must be a valid time too, or lists could not show it."""
        self.time(field, given)
        if given.seconds > _LAST_SECOND - self.limits.longest_span // SECOND:
            self.wrong(field, "Must be at least ten years before the year 10000.")

    def path(self, field: str, text: str) -> Path:
        try:
            return parse_path(text)
        except ValueError as error:
            self.wrong(field, str(error))
            return ()

    def json_object(self, field: str, given: Struct, *, searched: bool = False) -> JsonObject:
        """The object in a Struct. `searched`: whether databases search it."""
        return read_struct(given, self._refuse(field, searched=searched))

    def json_number(self, field: str, given: float) -> int | float:
        return read_number(given, self._refuse(field))

    def context_value(self, field: str, given: Value) -> Json:
        """A value within a context; its size limit is that of a whole context."""
        value = read_value(given, self._refuse(field), MAX_DEPTH)
        self.context_size(field, value)
        return value

    def context_size(self, field: str, value: Json) -> None:
        self.json_size(field, value, self.limits.context_bytes)
        if measure(value)[0] > self.limits.context_keys:
            self.too_large(field, f"Must have at most {self.limits.context_keys:,} keys.")

    def json_size(self, field: str, value: Json, most: int) -> None:
        if len(dumps(value)) > most:
            self.too_large(field, f"Must be at most {most:,} bytes of JSON.")

    def metadata_size(self, field: str, value: JsonObject) -> None:
        self.json_size(field, value, self.limits.metadata_bytes)
        if measure(value)[0] > self.limits.metadata_keys:
            self.too_large(field, f"Must have at most {self.limits.metadata_keys:,} keys.")

    def _refuse(self, field: str, *, searched: bool = False) -> Refuse:
        def wrong(sentence: str) -> None:
            self.wrong(field, sentence)

        return Refuse(wrong, searched=searched)


def _in_words(span: Micros) -> str:
    """Whole seconds in the largest unit that divides them, such as `10 years`."""
    seconds = span // SECOND
    name, unit = next((name, unit) for name, unit in _UNITS if seconds % unit == 0)
    count = seconds // unit
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"
