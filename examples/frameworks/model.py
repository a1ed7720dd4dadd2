"""A model that needs no key: it multiplies by calling a tool, and counts what the conversation that it is sent holds.

It speaks chat completions as OpenAI does, and generateContent as Gemini does. The examples start it in their own
process, or use the one that MODEL_URL names.
"""

from __future__ import annotations

import json
import os
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

QUESTIONS = ("What is 6 times 7?", "What is 8 times 9?", "How much have we said?")


@contextmanager
def model_url() -> Iterator[str]:
    """The model's address, such as http://127.0.0.1:8000."""
    if "MODEL_URL" in os.environ:
        yield os.environ["MODEL_URL"]
        return
    with model_server() as url:
        yield url


def ask(url: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The model's next message, for frameworks that bring no client of their own."""
    body = json.dumps({"model": "scripted", "messages": messages}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        message: dict[str, Any] = json.loads(response.read())["choices"][0]["message"]
    return message


@contextmanager
def model_server(before_each: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Serves the model on a free port, and calls `before_each` before it answers a request."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        _Handler.before_each = staticmethod(before_each)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    before_each: Callable[[], None]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.before_each()
        answer = _gemini(request) if "generateContent" in self.path else _chat_completion(request)
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing."""


def _next(turns: list[tuple[str, str]]) -> str | dict[str, int]:
    """What follows the turns, each a role and its text: a sentence, or the arguments of a call of `multiply`."""
    role, text = turns[-1]
    if role == "tool":
        return f"It is {text}."
    numbers = [int(each) for each in re.findall(r"\d+", text)]
    if len(numbers) == 2:
        return {"a": numbers[0], "b": numbers[1]}
    questions = sum(role == "user" for role, _ in turns)
    answers = sum(role in {"assistant", "model"} and bool(text) for role, text in turns)
    return f"{questions} questions and {answers} answers."


def _chat_completion(request: dict[str, Any]) -> dict[str, Any]:
    turns = [(each["role"], _text(each.get("content"))) for each in request["messages"]]
    found = _next(turns)
    message: dict[str, Any] = {"role": "assistant", "content": found}
    if isinstance(found, dict):
        function = {"name": "multiply", "arguments": json.dumps(found)}
        call = {"id": f"call_{len(turns)}", "type": "function", "function": function}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "stop" if isinstance(found, str) else "tool_calls",
    }
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    head = {"id": "1", "object": "chat.completion", "created": 0, "model": request["model"]}
    return {**head, "choices": [choice], "usage": usage}


def _gemini(request: dict[str, Any]) -> dict[str, Any]:
    turns = []
    for content in request["contents"]:
        for part in content["parts"]:
            if "functionResponse" in part:
                turns.append(("tool", str(part["functionResponse"]["response"]["result"])))
            else:
                turns.append((content["role"], part.get("text", "")))
    found = _next(turns)
    part = (
        {"text": found} if isinstance(found, str) else {"functionCall": {"name": "multiply", "args": found}}
    )
    return {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}]}


def _text(content: Any) -> str:
    """The text of a message, which may be in parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
