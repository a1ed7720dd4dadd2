"""A conversation on the wire, written down: each request and what came back, as JSON with the protos' names.

What is different each time gets a name by its kind and the order in which it was seen, so that a transcript also shows
where the same value comes again: `<time 2>`, `<etag 1>`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tests.wire.stubs import Caller, refusal_of

KINDS: Final = {
    "etag": "etag",
    "metadata_etag": "etag",
    "current_etag": "etag",
    "log_id": "log",
    "next_page_token": "token",
    "sha256": "digest",
}
"""The fields whose values are made up by the server, beside times and ids."""

TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Transcript:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._lines: list[str] = []
        self._seen: dict[tuple[str, str], str] = {}

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)

    def say(self, method: str, **fields: Any) -> Any:
        """Calls, and writes down the request and the answer; returns the answer, or None for a refusal."""
        self._request(method, fields)
        try:
            answer = getattr(self._caller, method)(**fields)
        except grpc.RpcError as error:
            self._refusal(error)
            return None
        self._answer(answer)
        return answer

    def read(self, method: str, most: int, **fields: Any) -> list[Any]:
        """Calls what answers by a stream, and writes down this many messages at most."""
        self._request(method, fields)
        answers: list[Any] = []
        stream = getattr(self._caller, method)(**fields)
        try:
            for answer in itertools.islice(stream, most):
                self._answer(answer)
                answers.append(answer)
        except grpc.RpcError as error:
            self._refusal(error)
        stream.cancel()
        return answers

    def _request(self, method: str, fields: Mapping[str, Any]) -> None:
        if self._lines:
            self._lines.append("")
        self._lines.append(f"> {method}")
        self._write({name: _plain(value) for name, value in fields.items()})

    def _answer(self, answer: Message) -> None:
        self._lines.append("< OK")
        self._write(_plain(answer))

    def _refusal(self, error: grpc.RpcError) -> None:
        refusal = refusal_of(error)
        self._lines.append(f"< {refusal.code} {refusal.reason}")
        shown = {"message": refusal.message, "metadata": refusal.metadata, "fields": refusal.fields}
        self._write({name: value for name, value in shown.items() if value})

    def _write(self, value: Any) -> None:
        self._lines += json.dumps(
            self._masked(value), ensure_ascii=False, indent=2, sort_keys=True
        ).splitlines()

    def _masked(self, value: Any, name: str = "") -> Any:
        match value:
            case dict():
                return {key: self._masked(value[key], key) for key in sorted(value)}
            case list():
                return [self._masked(each, name) for each in value]
            case str() if name in KINDS:
                return self._name(KINDS[name], value)
            case str():
                text = TIME.sub(lambda found: self._name("time", found[0]), value)
                return ID.sub(lambda found: self._name("id", found[0]), text)
            case _:
                return value

    def _name(self, kind: str, value: str) -> str:
        number = sum(known == kind for known, _ in self._seen) + 1
        return self._seen.setdefault((kind, value), f"<{kind} {number}>")


def _plain(value: Any) -> Any:
    match value:
        case Message():
            return MessageToDict(value, preserving_proto_field_name=True)
        case list() | tuple():
            return [_plain(each) for each in value]
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case _:
            return value
