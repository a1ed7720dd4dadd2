"""Measures a call over HTTP relative to the same call over gRPC: the cost of each for the server that answers both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from benchmarks.load import Load, load, load_connect
from benchmarks.ours import connected
from benchmarks.plan import Plan
from benchmarks.processes import Server, scratch, sessions_server
from benchmarks.report import Finding, Rounds, alternate


def get_session_connect(plan: Plan) -> list[Finding]:
    """Reads of a session over Connect."""
    rates = Rounds()
    with scratch() as folder, sessions_server(folder, http=True) as server, connected(server) as ours:
        over_grpc = [ours.get_session(each) for each in ours.sessions(history=10)]
        over_connect = replace(over_grpc[0], address=server.http_address)
        found = alternate(
            lambda: _cost(server, lambda: load(over_grpc, seconds=plan.seconds), rates.first),
            lambda: _cost(server, lambda: load_connect(over_connect, seconds=plan.seconds), rates.second),
            rounds=plan.rounds,
        )
    what = "GetSession over Connect in protobuf, 64 callers, the server's CPU beside that of the same call over gRPC"
    numbers = {
        "gRPC in calls/s": rates.first,
        "Connect in calls/s": rates.second,
        "gRPC CPU in µs a call": found.first,
        "Connect CPU in µs a call": found.second,
    }
    return [Finding("get_session_connect", what, 0.8, found.ratio, at_least=False, numbers=numbers)]


def _cost(server: Server, run: Callable[[], Load], rates: list[float]) -> float:
    """The server's CPU time per response, in µs; adds the responses per second to `rates`."""
    before = server.cpu_seconds()
    done = run()
    rates.append(done.rate)
    return (server.cpu_seconds() - before) / done.succeeded * 1_000_000
