"""Puts a server under load with h2load, which can send framed gRPC requests and uses little CPU time itself.

h2load repeats a single body, so a load on several sessions takes one h2load process with one connection per session. It
counts HTTP responses, whereas the gRPC status is in the trailers; but a refused call has no data, so the number of
received bytes reveals refusals.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.messages import FRAME_BYTES, framed

if TYPE_CHECKING:
    from google.protobuf.message import Message as Proto

CONNECTIONS: Final = 4
STREAMS: Final = 16
CALLERS: Final = CONNECTIONS * STREAMS

_RATE: Final = re.compile(r"finished in [\d.]+m?s, ([\d.]+) req/s")
_REQUESTS: Final = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_DATA: Final = re.compile(r"\((\d+)\) data")
_INSTALL: Final = ("apt-get", "install", "--yes", "--quiet", "nghttp2-client")


class BenchmarkError(Exception):
    """The measurement would be meaningless; the message says why."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call to repeat."""

    address: str
    method: str
    """Such as `sessions.v1.SessionService/AddMessage`."""
    request: Proto
    answer_bytes: int
    """The minimum size of a response. A refused call has no data."""


@dataclass(frozen=True, slots=True)
class Load:
    rate: float
    """Responses per second."""
    succeeded: int


def prepare() -> str:
    """Checks that h2load is installed; returns its version."""
    if shutil.which("h2load") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "--quiet"], check=False, capture_output=True)
        subprocess.run(_INSTALL, check=False, capture_output=True)
    if shutil.which("h2load") is None:
        raise BenchmarkError(
            "h2load is missing: install the package nghttp2-client (nghttp2 on macOS and Fedora)."
        )
    return subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def load(calls: Sequence[Call], *, seconds: float, streams: int = STREAMS) -> Load:
    """Runs the calls concurrently: one connection each, with this many callers on it."""
    with tempfile.TemporaryDirectory() as folder:
        running = [
            _start(call, folder=Path(folder), name=str(index), seconds=seconds, streams=streams)
            for index, call in enumerate(calls)
        ]
        parts = [_result(call, process) for call, process in zip(calls, running, strict=True)]
    return Load(sum(part.rate for part in parts), sum(part.succeeded for part in parts))


def load_connect(call: Call, *, seconds: float) -> Load:
    """Runs the call over Connect in protobuf and HTTP/1.1, with one connection for each of 64 callers."""
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "body.bin"
        body.write_bytes(call.request.SerializeToString())
        command = ["h2load", "--h1", "-D", f"{int(seconds * 1000)}ms", "-c", str(CALLERS), "-d", str(body)]
        command += ["-H", "content-type: application/proto", f"http://{call.address}/{call.method}"]
        return _result(call, subprocess.Popen(command, stdout=subprocess.PIPE, text=True), frame_bytes=0)


def median_micros(call: Call, *, seconds: float) -> float:
    """The median response time for a single caller."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        _result(call, _start(call, folder=Path(folder), name="0", seconds=seconds, streams=1, log=log))
        return statistics.median(int(line.split("\t")[2]) for line in log.read_text().splitlines())


def _start(
    call: Call, *, folder: Path, name: str, seconds: float, streams: int, log: Path | None = None
) -> subprocess.Popen[str]:
    body = folder / f"{name}.bin"
    body.write_bytes(framed(call.request))
    command = ["h2load", "-D", f"{int(seconds * 1000)}ms", "-c", "1", "-m", str(streams), "-d", str(body)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    if log is not None:
        command.append(f"--log-file={log}")
    return subprocess.Popen(
        [*command, f"http://{call.address}/{call.method}"], stdout=subprocess.PIPE, text=True
    )


def _result(call: Call, process: subprocess.Popen[str], *, frame_bytes: int = FRAME_BYTES) -> Load:
    output, _ = process.communicate()
    rate, requests, data = _RATE.search(output), _REQUESTS.search(output), _DATA.search(output)
    if process.returncode != 0 or not rate or not requests or not data:
        raise BenchmarkError(f"h2load did not do what is expected of it on {call.method}:\n{output}")
    succeeded, *others = (int(number) for number in requests.groups())
    if any(others):
        raise BenchmarkError(f"Calls of {call.method} failed: {requests.group()}.")
    if not succeeded or int(data.group(1)) < succeeded * (frame_bytes + call.answer_bytes):
        raise BenchmarkError(
            f"{succeeded} calls of {call.method} brought {data.group(1)} bytes, less than as many full answers have; "
            "some were refused."
        )
    return Load(float(rate.group(1)), succeeded)
