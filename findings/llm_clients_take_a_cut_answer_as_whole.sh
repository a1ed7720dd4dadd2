#!/usr/bin/env bash
# OpenAI's and Anthropic's clients: a stream that ends in the middle of an answer raises nothing and is stored as whole.
#
# One would expect an exception: both APIs mark an answer's end (`[DONE]` and a finish_reason, `response.completed`,
# `message_stop`), and a connection that breaks does raise one. But a response that ends early and in good order passes.
# A gateway sends one when the provider fails or a time limit is reached; so does a server that is killed during a
# response whose end is marked only by the end of the connection, as here. `get_final_message` and
# `get_final_completion` return what has come so far, and the OpenAI Agents SDK writes half a sentence into its session
# as an answer with the status "completed", for every later turn to build on. (Its model for the Responses API does
# raise.) Do not store an answer, or act on it, unless it has a finish_reason or stop_reason.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'openai==3.57.0' 'openai-agents==0.24.0' 'anthropic==2.14.0'
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^(anthropic|openai|openai-agents) '
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import anthropic
import openai
from agents import Agent, OpenAIChatCompletionsModel, Runner, SQLiteSession

CUT = "Take the pills, but never"
ASK = {"model": "m", "messages": [{"role": "user", "content": "How?"}]}
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
CHAT = [
    {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": CUT}, "finish_reason": None}],
    }
]
RESPONSE = [{"type": "response.output_text.delta", "delta": CUT, "sequence_number": 0, "output_index": 0}]
MESSAGES = [
    {"type": "message_start", "message": MESSAGE | {"usage": {"input_tokens": 1, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": CUT}},
]
STREAMS = {"/v1/chat/completions": CHAT, "/v1/responses": RESPONSE, "/v1/messages": MESSAGES}


class Gateway(BaseHTTPRequestHandler):
    """Passes on the beginning of an answer, and closes the response."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in STREAMS[self.path]:
            name = f"event: {event['type']}\n" if "type" in event else ""
            self.wfile.write(f"{name}data: {json.dumps(event)}\n\n".encode())

    def log_message(self, *args: object) -> None:
        pass


async def of_agent(url: str) -> list[dict]:
    async with openai.AsyncOpenAI(api_key="none", base_url=f"{url}/v1") as client:
        agent = Agent(name="agent", model=OpenAIChatCompletionsModel(model="m", openai_client=client))
        session = SQLiteSession("s")
        async for _ in Runner.run_streamed(agent, "How?", session=session).stream_events():
            pass
        return await session.get_items()


server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
with openai.OpenAI(api_key="none", base_url=f"{url}/v1") as client:
    with client.chat.completions.stream(**ASK) as stream:
        [choice] = stream.get_final_completion().choices
    print(f"openai, chat: {choice.message.content!r}, finish_reason {choice.finish_reason}")
    print("openai, responses:", *(event.type for event in client.responses.create(model="m", input="", stream=True)))
with anthropic.Anthropic(api_key="none", base_url=url) as client, client.messages.stream(**ASK, max_tokens=9) as stream:
    message = stream.get_final_message()
    print(f"anthropic: {message.content[0].text!r}, stop_reason {message.stop_reason}")
for item in asyncio.run(of_agent(url)):
    if item["role"] == "assistant":
        print(f"stored by openai-agents: {item['content'][0]['text']!r}, status {item['status']}")
PYTHON
seen=$(OPENAI_AGENTS_DISABLE_TRACING=1 "$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
expected="openai, chat: 'Take the pills, but never', finish_reason None
openai, responses: response.output_text.delta
anthropic: 'Take the pills, but never', stop_reason None
stored by openai-agents: 'Take the pills, but never', status completed"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
