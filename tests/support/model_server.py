"""A chat completions service with scripted replies, which records its requests."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """The response to one request."""

    chunks: Sequence[Json] = ()
    status: int = 200
    cut: bool = False
    """Whether to close the connection after the chunks, in the middle of the response."""


def says(*pieces: str) -> Reply:
    """A response in pieces."""
    return Reply([*({"delta": {"content": each}} for each in pieces), {"delta": {}, "finish_reason": "stop"}])


def calls(*functions: tuple[str, str]) -> Reply:
    """Tool calls, each a name and the arguments as the model writes them; in two pieces, as services send them."""
    chunks: list[Json] = []
    for index, (name, arguments) in enumerate(functions):
        half = len(arguments) // 2
        first = {"index": index, "id": f"call_{name}_{index}", "type": "function"}
        chunks += [
            {"delta": {"tool_calls": [{**first, "function": {"name": name, "arguments": arguments[:half]}}]}},
            {"delta": {"tool_calls": [{"index": index, "function": {"arguments": arguments[half:]}}]}},
        ]
    return Reply([*chunks, {"delta": {}, "finish_reason": "tool_calls"}])


def refuses(status: int) -> Reply:
    """An error of the service; if it is retryable, clients retry at once."""
    return Reply(status=status)


def cut_after(*pieces: str) -> Reply:
    """A response whose end never arrives."""
    return Reply([{"delta": {"content": each}} for each in pieces], cut=True)


class ModelServer(ThreadingHTTPServer):
    """A service on a free loopback port."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Reply] = []
        """The next replies; when they are used up, requests are refused."""
        self.answer: Callable[[Json], Reply] | None = None
        """Replaces the script: returns the reply to a request."""
        self.requests: list[Json] = []

    def reply(self, request: Json) -> Reply:
        """The next reply."""
        if self.answer is not None:
            return self.answer(request)
        return self.script.pop(0) if self.script else refuses(400)

    @property
    def env(self) -> dict[str, str]:
        """The environment for a program that uses it."""
        url = f"http://127.0.0.1:{self.server_port}/v1"
        return {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none", "SESSIONS_TASK_MODEL": "scripted"}


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """Serves while the context lasts."""
    with ModelServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(request)
        reply = self.server.reply(request)
        if reply.status != 200:
            self._refuse(reply.status)
        else:
            self._stream(reply)

    def _stream(self, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for chunk in reply.chunks:
            choice = {"index": 0, **chunk}
            self._send(json.dumps({"id": "1", "object": "chat.completion.chunk", "choices": [choice]}))
        if reply.cut:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self._send("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, data: str) -> None:
        line = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()

    def _refuse(self, status: int) -> None:
        body = json.dumps({"error": {"message": f"refused with {status}"}}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Suppressed."""
