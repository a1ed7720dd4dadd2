"""Measures single calls with 64 callers relative to a bare gRPC echo: durable adds, batches of them, and reads."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from google.protobuf import struct_pb2

from benchmarks import python_pipeline
from benchmarks.load import CALLERS, CONNECTIONS, Call, load, median_micros
from benchmarks.messages import BATCH
from benchmarks.ours import Ours, connected, echo, echo_history
from benchmarks.plan import Plan
from benchmarks.processes import Server, echo_server, postgres_url, scratch, sessions_server
from benchmarks.report import Finding, Rounds, alternate
from sessions_proto.v1 import sessions_pb2 as pb


class Done(Protocol):
    """The result of a load."""

    @property
    def rate(self) -> float: ...

    @property
    def succeeded(self) -> int: ...


@contextmanager
def ours(database_url: str | None = None, *, workers: int = 1) -> Iterator[Ours]:
    with (
        scratch() as folder,
        sessions_server(folder, database_url=database_url, workers=workers) as server,
        connected(server) as found,
    ):
        yield found


def costed(server: Server, run: Callable[[], Done], micros: list[float]) -> float:
    """The rate of a load; adds the server's CPU time per response to `micros`."""
    before = server.cpu_seconds()
    done = run()
    micros.append((server.cpu_seconds() - before) / done.succeeded * 1_000_000)
    return done.rate


def add_message(plan: Plan) -> list[Finding]:
    """Durable adds on SQLite."""
    with ours() as server:
        return _adds(plan, server, suffix="", database="SQLite", asked=0.85, wait=1.8)


def add_message_postgres(plan: Plan) -> list[Finding]:
    """Durable adds on PostgreSQL."""
    with postgres_url() as url, ours(url) as server:
        return _adds(plan, server, suffix="_postgres", database="PostgreSQL", asked=0.80, wait=3.0)


def _adds(
    plan: Plan, server: Ours, *, suffix: str, database: str, asked: float, wait: float
) -> list[Finding]:
    with echo_server() as bare:
        sessions = server.sessions(CALLERS)
        repeated = [echo(bare.address)] * CONNECTIONS
        cost = Rounds()
        many = _measured(
            plan,
            lambda: costed(bare, lambda: load(repeated, seconds=plan.seconds), cost.first),
            lambda: costed(
                server.process, lambda: server.load_adds(sessions, seconds=plan.seconds), cost.second
            ),
        )
        one = _measured(
            plan,
            lambda: median_micros(echo(bare.address), seconds=plan.seconds / 2),
            lambda: server.load_adds(sessions[:1], seconds=plan.seconds / 2, callers=1).p50_micros,
        )
    what = f"durable AddMessage with request ids on {database}"
    return [
        Finding(
            f"add_message{suffix}",
            f"{what}, 64 callers on 64 sessions, beside the echo",
            asked,
            many.ratio,
            at_least=True,
            numbers=_rates(many, cost),
        ),
        Finding(
            f"add_message{suffix}_wait",
            f"{what}, 1 caller, p50 beside the echo's",
            wait,
            one.ratio,
            at_least=False,
            numbers={"echo p50 in µs": one.first, "ours p50 in µs": one.second},
        ),
    ]


def pipeline(plan: Plan) -> list[Finding]:
    """Durable adds through one stream of commits."""
    with ours() as server, echo_server() as bare:
        sessions = server.sessions(CALLERS)
        repeated = [echo(bare.address)] * CONNECTIONS
        cost = Rounds()
        found = _measured(
            plan,
            lambda: costed(bare, lambda: load(repeated, seconds=plan.seconds), cost.first),
            lambda: costed(
                server.process,
                lambda: python_pipeline.pipeline(server.address, sessions, seconds=plan.seconds),
                cost.second,
            ),
        )
    what = (
        "durable adds with request ids through StreamCommits, Python client, "
        f"{python_pipeline.UNDER_WAY} under way on {CALLERS} sessions, beside the unary echo"
    )
    numbers = _rates(found, cost)
    return [
        Finding("pipeline", what, 2.0, found.ratio, at_least=True, numbers=numbers),
        Finding(
            "pipeline_cost", f"server CPU of {what}'s", 0.25, cost.ratio, at_least=False, numbers=numbers
        ),
    ]


def written(plan: Plan) -> list[Finding]:
    """The bytes that the operating system writes for a durable add of 300 bytes."""
    with ours() as server:
        sessions = server.sessions(CALLERS)
        server.load_adds(sessions, seconds=plan.seconds)
        each: list[float] = []
        for _ in range(plan.rounds):
            before = server.process.written_bytes()
            added = server.load_adds(sessions, seconds=plan.seconds).succeeded
            each.append((server.process.written_bytes() - before) / added / 1_000)
    what = (
        "written to disk for a durable AddMessage of 300 bytes with a request id, 64 callers on 64 sessions"
    )
    numbers = {"kB for each message": each}
    return [
        Finding("written", what, 10.0, statistics.median(each), at_least=False, unit="kB", numbers=numbers)
    ]


def add_messages(plan: Plan) -> list[Finding]:
    """Durable adds in batches of 50, relative to single ones."""
    with ours() as server:
        single, batched = server.sessions(CALLERS), server.sessions(CALLERS)
        found = _measured(
            plan,
            lambda: server.load_adds(single, seconds=plan.seconds).rate,
            lambda: server.load_adds(batched, seconds=plan.seconds, batch=BATCH).rate * BATCH,
        )
    asked = max(15_000.0, 3 * statistics.median(found.first))
    what = "durable AddMessages of 50, 64 callers: 15,000 a second or 3 times AddMessage"
    numbers = {"AddMessage in messages/s": found.first, "AddMessages in messages/s": found.second}
    measured = statistics.median(found.second)
    return [Finding("add_messages", what, asked, measured, at_least=True, unit="messages/s", numbers=numbers)]


def get_session(plan: Plan) -> list[Finding]:
    """Reads of a session."""
    return [_reads(plan, "get_session", "GetSession", 0.75, Ours.get_session, echo)]


def get_context(plan: Plan) -> list[Finding]:
    """Reads of a context."""
    return [_reads(plan, "get_context", "GetContext", 0.75, Ours.get_context, echo)]


def get_history(plan: Plan) -> list[Finding]:
    """Reads of ten of a hundred messages, and of a hundred messages with data."""

    def ten(address: str) -> Call:
        return echo_history(address, 10)

    def hundred(address: str) -> Call:
        return echo_history(address, 100, data=True)

    def all_of_them(server: Ours, session_id: str) -> Call:
        return server.get_history(session_id, 100)

    return [
        _reads(plan, "get_history", "GetHistory(10)", 0.5, Ours.get_history, ten),
        _reads(plan, "get_history_data", "GetHistory(100) with data", 0.7, all_of_them, hundred, data=True),
    ]


def _reads(
    plan: Plan,
    name: str,
    rpc: str,
    asked: float,
    call: Callable[[Ours, str], Call],
    beside: Callable[[str], Call],
    *,
    data: bool = False,
) -> Finding:
    with ours() as server, echo_server() as bare:
        calls = [call(server, each) for each in _filled(server, data=data)]
        repeated = [beside(bare.address)] * CONNECTIONS
        cost = Rounds()
        found = _measured(
            plan,
            lambda: costed(bare, lambda: load(repeated, seconds=plan.seconds), cost.first),
            lambda: costed(server.process, lambda: load(calls, seconds=plan.seconds), cost.second),
        )
    what = f"{rpc}, 64 callers, beside {'the echo' if beside is echo else 'an echo of as many messages'}"
    return Finding(name, what, asked, found.ratio, at_least=True, numbers=_rates(found, cost))


def _filled(server: Ours, *, data: bool) -> Sequence[str]:
    """Sessions as programs leave them: a small context and a hundred messages."""
    context = struct_pb2.Struct()
    context.update({"user_input": {"query": "three offers", "page": 2}, "theme": "dark", "steps": [1, 2, 3]})
    made = server.sessions()
    for each in made:
        server.fill(each, 100, data=data)
        server.stub.SetContext(pb.SetContextRequest(session_id=each, context=context))
    return made


def _measured(plan: Plan, first: Callable[[], float], second: Callable[[], float]) -> Rounds:
    """The measured rounds, after one that warms up both sides."""
    alternate(first, second, rounds=1)
    return alternate(first, second, rounds=plan.rounds)


def _rates(found: Rounds, cost: Rounds) -> dict[str, list[float]]:
    return {
        "echo in calls/s": found.first,
        "ours in calls/s": found.second,
        "echo CPU in µs a call": cost.first,
        "ours CPU in µs a call": cost.second,
    }
