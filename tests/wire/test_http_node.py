"""Node.js with the published clients: Connect and gRPC-Web, and the Durable Streams client following a log."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.meta.readme import blocks
from tests.meta.tree import text_of
from tests.support.node import installed, start_node
from tests.support.server import ROOT, Server, start_server
from tests.support.web import Web
from tests.wire.deployments import READER, WRITER, tokens_file

PROTOCOLS = ["connect proto", "connect json", "connect get", "connect node", "grpc-web"]


@pytest.fixture(scope="module")
def packages() -> Path:
    return installed(ROOT / "tests" / "wire" / "node")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    with start_server(tmp_path, http=True, env={"SESSIONS_TOKENS": str(tokens_file(tmp_path))}) as server:
        yield server


def descriptors_in(folder: Path) -> Path:
    """The protos as descriptors, for clients without generated code."""
    descriptors = folder / "descriptors.binpb"
    buf = Path(sys.executable).parent / "buf"
    subprocess.run([buf, "build", ROOT / "protos", "--output", descriptors], check=True)
    return descriptors


def called(packages: Path, server: Server, folder: Path, token: str) -> subprocess.CompletedProcess[str]:
    command = ["node", "clients.js", server.url, str(descriptors_in(folder)), token]
    return subprocess.run(command, cwd=packages, capture_output=True, text=True, check=False)


def test_every_protocol_calls_reads_streams_and_is_refused_alike(
    packages: Path, guarded: Server, tmp_path: Path
) -> None:
    done = called(packages, guarded, tmp_path, WRITER)
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, Any] = json.loads(done.stdout)
    assert list(outcomes) == PROTOCOLS
    for name, outcome in outcomes.items():
        assert (outcome["messages"], outcome["metadata"]) == (1, {"tries": 3}), name
        assert outcome["missing"]["code"] == "NotFound", name
        assert outcome["missing"]["details"] == ["google.rpc.ErrorInfo"], name
        assert outcome["canceled"]["code"] == "Canceled", name
        assert outcome["late"]["code"] == "DeadlineExceeded", name


def test_a_reader_may_not_write_whatever_the_protocol(
    packages: Path, guarded: Server, tmp_path: Path
) -> None:
    done = called(packages, guarded, tmp_path, READER)
    assert "permission_denied" in done.stderr


def stop_and_start(server: Server) -> None:
    server.stop()
    server.start()


# With SSE the client treats a broken connection as an error; only an orderly end makes it reconnect.
@pytest.mark.parametrize(
    ("live", "restart"), [("sse", stop_and_start), ("long-poll", Server.restart)], ids=["sse", "long-poll"]
)
def test_the_durable_streams_client_follows_a_session_across_a_restart(
    packages: Path, tmp_path: Path, live: str, restart: Callable[[Server], None]
) -> None:
    with start_server(tmp_path, http=True) as server:
        web = Web(server.url)
        session = str(web.done("CreateSession", {"userId": "u1"})["session"]["id"])

        def say(content: str) -> None:
            web.done("AddMessage", {"sessionId": session, "message": {"role": "user", "content": content}})

        say("before")
        url = f"{server.url}/v1/sessions/{session}/events"
        with start_node(packages, "tail.js", url, live) as tail:
            assert tail.stdout is not None
            seen = [tail.stdout.readline().strip() for _ in range(2)]
            say("live")
            seen.append(tail.stdout.readline().strip())
            restart(server)
            say("after")
            seen.append(tail.stdout.readline().strip())
            web.done("DeleteSession", {"sessionId": session})
            seen.extend(line.strip() for line in tail.stdout)
    assert seen == ["1", "2", "3", "4", "5"]


OF_THE_PROTOS = """
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
const files = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(process.argv[2])));
const SessionService = files.getService("sessions.v1.SessionService");
"""
PROGRAMS = [block.text for block in blocks(text_of(Path("docs/http.md"))) if block.word == "javascript"]


@pytest.mark.parametrize("number", range(len(PROGRAMS)), ids=["connect-web", "durable streams"])
def test_the_pages_programs_follow_a_session(packages: Path, tmp_path: Path, number: int) -> None:
    with start_server(tmp_path, http=True) as server:
        web = Web(server.url)
        web.done("CreateSession", {"userId": "u1", "sessionId": "docs"})
        web.done("AddMessage", {"sessionId": "docs", "message": {"role": "user", "content": "Hello"}})
        text = OF_THE_PROTOS + PROGRAMS[number].replace("http://127.0.0.1:8080", server.url)
        (packages / f"page-{number}.js").write_text(text)
        with start_node(packages, f"page-{number}.js", str(descriptors_in(tmp_path))) as running:
            assert running.stdout is not None
            for line in running.stdout:
                if "message" in line:
                    web.done("DeleteSession", {"sessionId": "docs"})
                    break
            rest = running.stdout.read()
    assert running.returncode == 0
    assert "deleted" in rest
