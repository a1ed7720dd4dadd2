"""Measures single calls with 64 callers beside a bare gRPC echo: durable adds, batches of them, and reads."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from google.protobuf import struct_pb2

from benchmarks.load import CONNECTIONS, Call, load, median_micros
from benchmarks.messages import BATCH
from benchmarks.ours import Ours, connected, echo, echo_ten
from benchmarks.plan import Plan
from benchmarks.processes import echo_server, postgres_url, scratch, sessions_server
from benchmarks.report import Finding, Rounds, alternate
from sessions_proto.v1 import sessions_pb2 as pb


@contextmanager
def ours(database_url: str | None = None) -> Iterator[Ours]:
    with (
        scratch() as folder,
        sessions_server(folder, database_url=database_url) as server,
        connected(server.address) as found,
    ):
        yield found


def add_message(plan: Plan) -> list[Finding]:
    """Durable adds on SQLite."""
    with ours() as server:
        return _adds(plan, server, suffix="", database="SQLite")


def add_message_postgres(plan: Plan) -> list[Finding]:
    """Durable adds on PostgreSQL."""
    with postgres_url() as url, ours(url) as server:
        return _adds(plan, server, suffix="_postgres", database="PostgreSQL")


def _adds(plan: Plan, server: Ours, *, suffix: str, database: str) -> list[Finding]:
    with echo_server() as bare:
        sessions = server.sessions()
        repeated = [echo(bare.address)] * CONNECTIONS
        many = _measured(
            plan,
            lambda: load(repeated, seconds=plan.seconds).rate,
            lambda: server.load_adds(sessions, seconds=plan.seconds).rate,
        )
        call = server.add_message(sessions[0])
        one = _measured(
            plan,
            lambda: median_micros(echo(bare.address), seconds=plan.seconds / 2),
            lambda: median_micros(call, seconds=plan.seconds / 2),
        )
    what = f"durable AddMessage on {database}"
    return [
        Finding(
            f"add_message{suffix}",
            f"{what}, 64 callers, beside the echo",
            0.60,
            many.ratio,
            at_least=True,
            numbers=_rates(many),
        ),
        Finding(
            f"add_message{suffix}_wait",
            f"{what}, 1 caller, p50 beside the echo's",
            2.5,
            one.ratio,
            at_least=False,
            numbers={"echo p50 in µs": one.first, "ours p50 in µs": one.second},
        ),
    ]


def add_messages(plan: Plan) -> list[Finding]:
    """Durable adds in batches of 50, beside single ones."""
    with ours() as server:
        single, batched = server.sessions(), server.sessions()
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
    """Reads of ten messages of a hundred."""
    return [_reads(plan, "get_history", "GetHistory(10)", 0.5, Ours.get_history, echo_ten)]


def _reads(
    plan: Plan,
    name: str,
    rpc: str,
    asked: float,
    call: Callable[[Ours, str], Call],
    beside: Callable[[str], Call],
) -> Finding:
    with ours() as server, echo_server() as bare:
        calls = [call(server, each) for each in _filled(server)]
        repeated = [beside(bare.address)] * CONNECTIONS
        found = _measured(
            plan,
            lambda: load(repeated, seconds=plan.seconds).rate,
            lambda: load(calls, seconds=plan.seconds).rate,
        )
    what = f"{rpc}, 64 callers, beside {'an echo of ten messages' if beside is echo_ten else 'the echo'}"
    return Finding(name, what, asked, found.ratio, at_least=True, numbers=_rates(found))


def _filled(server: Ours) -> Sequence[str]:
    """Sessions as a program would leave them: a small context and a hundred messages."""
    context = struct_pb2.Struct()
    context.update({"user_input": {"query": "three offers", "page": 2}, "theme": "dark", "steps": [1, 2, 3]})
    made = server.sessions(history=100)
    for each in made:
        server.stub.SetContext(pb.SetContextRequest(session_id=each, context=context))
    return made


def _measured(plan: Plan, first: Callable[[], float], second: Callable[[], float]) -> Rounds:
    """The rounds that count, after one that warms both sides up."""
    alternate(first, second, rounds=1)
    return alternate(first, second, rounds=plan.rounds)


def _rates(found: Rounds) -> dict[str, list[float]]:
    return {"echo in calls/s": found.first, "ours in calls/s": found.second}
