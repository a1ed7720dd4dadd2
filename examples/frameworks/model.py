"""A model that needs no key: it multiplies by calling a tool, and counts the turns of the conversation.

It serves OpenAI's chat completions and Gemini's generateContent. The examples start it in their own process, or use the
one named by MODEL_URL.
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


def stream(url: str, messages: list[dict[str, Any]], show: Callable[[str], None]) -> dict[str, Any]:
    """The model's next message, streamed token by token."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    with _requested(url, messages, stream=True) as response:
        for line in response:
            if line.startswith(b"data: {"):
                delta = json.loads(line[len(b"data: ") :])["choices"][0]["delta"]
                if text := delta.pop("content", None):
                    message["content"] += text
                    show(text)
                message |= delta
    return message


def ask(url: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The model's next message, for frameworks without their own client."""
    with _requested(url, messages, stream=False) as response:
        message: dict[str, Any] = json.loads(response.read())["choices"][0]["message"]
    return message


def _requested(url: str, messages: list[dict[str, Any]], *, stream: bool) -> Any:
    body = json.dumps({"model": "scripted", "messages": messages, "stream": stream}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
    return urllib.request.urlopen(request)


@contextmanager
def model_server(
    before_each: Callable[[], None] = lambda: None, after_token: Callable[[str], None] = lambda text: None
) -> Iterator[str]:
    """Serves the model on a free port. Calls `before_each` before answering a request, and `after_token` with the text
    so far after each streamed token."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        _Handler.before_each = staticmethod(before_each)
        _Handler.after_token = staticmethod(after_token)
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
    after_token: Callable[[str], None]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.before_each()
        if request.get("stream"):
            self._stream(_chat_completion(request))
            return
        answer = _gemini(request) if "generateContent" in self.path else _chat_completion(request)
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, answer: dict[str, Any]) -> None:
        """Sends a chat completion as server-sent events, one per token."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        shown = ""
        for chunk in _chunks(answer):
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            if text := chunk["choices"][0]["delta"].get("content"):
                shown += text
                self.after_token(shown)
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing."""


def _next(turns: list[tuple[str, str]]) -> str | dict[str, int]:
    """The model's next turn after these turns of role and text: a sentence, or the arguments of a call of
    `multiply`."""
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


def _chunks(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The chunks of a streamed chat completion."""
    [choice] = answer["choices"]
    message = choice["message"]
    deltas = [{"content": token} for token in re.findall(r"\S+\s*", message["content"] or "")]
    for index, call in enumerate(message.get("tool_calls", [])):
        deltas.append({"tool_calls": [{"index": index, **call}]})
    for delta in [{"role": "assistant"}, *deltas, {}]:
        reason = None if delta else choice["finish_reason"]
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        yield {**answer, "object": "chat.completion.chunk", "choices": choices}


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
    """The text of a message, which may consist of parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
