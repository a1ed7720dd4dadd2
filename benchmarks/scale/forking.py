"""Measures what forks of one long session cost, one after another, and what they write to disk.

Run by hand: `.venv/bin/python -m benchmarks.scale.forking`. `--interleaved` puts a change of the context between the
source's messages, so that the copies have to be numbered.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Final

from google.protobuf import struct_pb2

from benchmarks.ours import Ours
from benchmarks.rules_calls import ours
from benchmarks.rules_growth import LONG
from sessions_proto.v1 import sessions_pb2 as pb

FORKS: Final = 5


def source(server: Ours, *, interleaved: bool) -> str:
    """A session of 100,000 messages."""
    session_id = server.session(history=LONG // 2)
    if interleaved:
        context = struct_pb2.Struct()
        context.update({"step": 1})
        server.stub.SetContext(pb.SetContextRequest(session_id=session_id, context=context))
    server.fill(session_id, LONG // 2)
    return session_id


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interleaved", action="store_true")
    options = parser.parse_args()
    with ours() as server:
        session_id = source(server, interleaved=options.interleaved)
        for number in range(1, FORKS + 1):
            spent, written = server.process.cpu_seconds(), server.process.written_bytes()
            began = time.perf_counter()
            server.fork(session_id)
            taken = time.perf_counter() - began
            spent, written = server.process.cpu_seconds() - spent, server.process.written_bytes() - written
            sys.stdout.write(
                f"fork {number}: {spent:.2f} s of CPU time, {taken:.2f} s in all, "
                f"{written / 1e6:.0f} MB written\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
