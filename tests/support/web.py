"""Requests over HTTP/1.1, each on its own connection: nothing is retried, followed or hidden."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

SECONDS = 60.0
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason in the ErrorInfo of a refusal."""
        return reason_of(self.json)


class Web:
    def __init__(self, url: str, *, token: str = "") -> None:
        self.url = url
        self._host = urlsplit(url).netloc
        self._own = {"authorization": f"Bearer {token}"} if token else {}

    def send(
        self,
        verb: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection(self._host, timeout=SECONDS)
        try:
            connection.request(verb, path, body, {**self._own, **(headers or {})})
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.send(
            "GET", path, headers={name.replace("_", "-"): each for name, each in headers.items()}
        )

    def call(self, method: str, request: object = None, **headers: str) -> Answer:
        """A unary call in JSON; the method belongs to SessionService unless it names a service."""
        body = json.dumps(request or {}).encode()
        return self.send("POST", path_of(method), body, {**JSON, **_names(headers)})

    def done(self, method: str, request: object = None) -> Any:
        """The response of a successful call."""
        answer = self.call(method, request)
        assert answer.status == 200, answer
        return answer.json

    def lines(self, path: str, **headers: str) -> Lines:
        return Lines(
            self._host,
            path,
            {**self._own, **{name.replace("_", "-"): each for name, each in headers.items()}},
        )


class Lines:
    """The lines of a streaming response; a context manager that disconnects at its end."""

    def __init__(self, host: str, path: str, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection(host, timeout=SECONDS)
        self._connection.request("GET", path, headers=dict(headers))
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = {name.lower(): value for name, value in self._response.getheaders()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._response.close()

    def __iter__(self) -> Iterator[str]:
        while line := self._response.readline():
            yield line.decode().rstrip("\n")

    def blocks(self) -> Iterator[dict[str, str]]:
        """Server-sent events, by field name."""
        block: dict[str, str] = {}
        for line in self:
            if line:
                name, _, value = line.partition(": ")
                block[name] = value
            elif block:
                yield block
                block = {}


def path_of(method: str) -> str:
    return f"/{method}" if "/" in method else f"/sessions.v1.SessionService/{method}"


def reason_of(error: Any) -> str:
    """The reason in an error in Connect's form."""
    return next(
        str(each["debug"]["reason"]) for each in error["details"] if each["type"] == "google.rpc.ErrorInfo"
    )


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
