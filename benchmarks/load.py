"""Puts a server under load with h2load, which speaks gRPC when it is given framed requests and costs little itself.

h2load sends one body only, so a load on several sessions is one h2load process, with one connection, for each session.
It counts answers of HTTP and not of gRPC, whose status stands in the trailers; but a refused call is answered without
data, so the number of bytes received tells them apart.
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
    """The measurement would mean nothing; the message says why."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, to be repeated."""

    address: str
    method: str
    """Such as `sessions.v1.SessionService/AddMessage`."""
    request: Proto
    answer_bytes: int
    """The fewest bytes that an answer has. A call that is refused has none."""


@dataclass(frozen=True, slots=True)
class Load:
    rate: float
    """Answers in a second."""
    succeeded: int


def prepare() -> str:
    """Makes sure that h2load is there; answers its version."""
    if shutil.which("h2load") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "--quiet"], check=False, capture_output=True)
        subprocess.run(_INSTALL, check=False, capture_output=True)
    if shutil.which("h2load") is None:
        raise BenchmarkError(
            "h2load is missing: install the package nghttp2-client (nghttp2 on macOS and Fedora)."
        )
    return subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def load(calls: Sequence[Call], *, seconds: float, streams: int = STREAMS) -> Load:
    """The calls at the same time: a connection for each, on which so many callers repeat it."""
    with tempfile.TemporaryDirectory() as folder:
        running = [
            _start(call, folder=Path(folder), name=str(index), seconds=seconds, streams=streams)
            for index, call in enumerate(calls)
        ]
        parts = [_result(call, process) for call, process in zip(calls, running, strict=True)]
    return Load(sum(part.rate for part in parts), sum(part.succeeded for part in parts))


def load_connect(call: Call, *, seconds: float) -> Load:
    """The call over Connect in protobuf and HTTP/1.1: a connection for each of 64 callers."""
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "body.bin"
        body.write_bytes(call.request.SerializeToString())
        command = ["h2load", "--h1", "-D", f"{int(seconds * 1000)}ms", "-c", str(CALLERS), "-d", str(body)]
        command += ["-H", "content-type: application/proto", f"http://{call.address}/{call.method}"]
        return _result(call, subprocess.Popen(command, stdout=subprocess.PIPE, text=True), frame_bytes=0)


def median_micros(call: Call, *, seconds: float) -> float:
    """How long one caller waits for an answer, at the median."""
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
