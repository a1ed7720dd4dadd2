"""Measures that the cost of a call does not grow with the stored data: long histories, and many sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.fill import DEVICES, fill
from benchmarks.load import BenchmarkError, Call, load, median_micros
from benchmarks.ours import SERVICE, Ours, connected
from benchmarks.plan import Plan
from benchmarks.processes import scratch, sessions_server
from benchmarks.report import Finding, Rounds, alternate
from benchmarks.rules_calls import ours
from sessions_proto.v1 import sessions_pb2 as pb

SHORT: Final = 10
LONG: Final = 100_000
FEW: Final = 10_000
MANY: Final = 1_000_000
PAGES_BEFORE: Final = 20
"""How many pages come before a page in the middle of a list."""


def growth_messages(plan: Plan) -> list[Finding]:
    """Adding to a history and reading its end, in a session of 10 messages and in one of 100,000."""
    seconds = plan.seconds / 3  # keeps the short history short compared with the long one
    with ours() as server:
        long = server.session(history=LONG)
        read_short, read_long = server.get_history(server.session(history=SHORT)), server.get_history(long)
        reads = alternate(
            lambda: load([read_long], seconds=seconds).rate,
            lambda: load([read_short], seconds=seconds).rate,
            rounds=2 * plan.rounds,
        )
        adds = alternate(
            lambda: server.load_adds([long], seconds=seconds).rate,
            lambda: server.load_adds([server.session(history=SHORT)], seconds=seconds).rate,
            rounds=2 * plan.rounds,
        )
    return [_growth("AddMessage", "growth_add", adds), _growth("GetHistory(10)", "growth_history", reads)]


def _growth(rpc: str, name: str, found: Rounds) -> Finding:
    what = f"cost of {rpc} in a session of {LONG:,} messages, beside one of {SHORT}"
    numbers = {f"calls/s with {LONG:,}": found.first, f"calls/s with {SHORT}": found.second}
    return Finding(name, what, 1.1, found.ratio, at_least=False, numbers=numbers)


def forks(plan: Plan) -> list[Finding]:
    """A fork of a session of 100,000 messages, and an export and import of the same."""
    spent = Rounds()
    with ours() as server:
        source = server.session(history=LONG)
        found = alternate(
            lambda: _seconds(server, lambda: server.fork(source), spent.first),
            lambda: _seconds(server, lambda: server.export_and_import(source), spent.second),
            rounds=plan.rounds,
        )
    what = f"time of an export and import of {LONG:,} messages, beside a fork of them"
    numbers = {
        "s by fork": found.first,
        "s by export and import": found.second,
        "server's CPU in s by fork": spent.first,
        "server's CPU in s by export and import": spent.second,
    }
    return [Finding("fork", what, 5, found.ratio, at_least=True, numbers=numbers)]


def _seconds(server: Ours, copy: Callable[[], pb.Session], spent: list[float]) -> float:
    """How long a copy takes; adds the server's CPU time to `spent`."""
    before, begun = server.process.cpu_seconds(), time.perf_counter()
    session = copy()
    taken = time.perf_counter() - begun
    spent.append(server.process.cpu_seconds() - before)
    if session.message_count != LONG:
        raise BenchmarkError(f"{LONG} messages were copied, but the copy has {session.message_count}.")
    return taken


def growth_pages(plan: Plan) -> list[Finding]:
    """Pages of List and Search among 10,000 and among a million sessions."""
    with _filled(FEW) as few, _filled(MANY) as many:
        lists = {
            "first page": _list_page,
            "a page in the middle": lambda server: _list_page(server, pages_before=PAGES_BEFORE),
        }
        searches = {
            "what a third of all has": lambda server: _search_page(server, {"device": DEVICES[0]}),
            "what a hundred have": lambda server: _search_page(server, {"vip": True}),
            "both": lambda server: _search_page(server, {"device": DEVICES[0], "vip": True}),
        }
        return [
            _pages(plan, "growth_list", "ListSessions", lists, few, many),
            _pages(plan, "growth_search", "SearchSessions", searches, few, many),
        ]


@contextmanager
def _filled(sessions: int) -> Iterator[Ours]:
    with scratch() as folder:
        fill(folder, sessions=sessions)
        with sessions_server(folder) as process, connected(process) as server:
            yield server


def _pages(
    plan: Plan, name: str, rpc: str, pages: dict[str, Callable[[Ours], Call]], few: Ours, many: Ours
) -> Finding:
    """The kind of page that grows most counts."""
    found = {kind: _page_rounds(plan, call(few), call(many)) for kind, call in pages.items()}
    numbers = {
        f"{kind}: p50 in µs with {sessions:,}": side
        for kind, rounds in found.items()
        for sessions, side in ((FEW, rounds.first), (MANY, rounds.second))
    }
    what = f"cost of a page of {rpc} among {MANY:,} sessions, beside {FEW:,}"
    measured = max(rounds.ratio for rounds in found.values())
    return Finding(name, what, 1.2, measured, at_least=False, numbers=numbers)


def _page_rounds(plan: Plan, few: Call, many: Call) -> Rounds:
    seconds = plan.seconds / 3
    return alternate(
        lambda: median_micros(few, seconds=seconds),
        lambda: median_micros(many, seconds=seconds),
        rounds=max(plan.rounds - 2, 1),
    )


def _list_page(server: Ours, pages_before: int = 0) -> Call:
    request = pb.ListSessionsRequest()
    for _ in range(pages_before):
        request.page_token = server.stub.ListSessions(request).next_page_token
    answer = server.stub.ListSessions(request)
    return Call(server.address, f"{SERVICE}/ListSessions", request, answer.ByteSize())


def _search_page(server: Ours, metadata: dict[str, str | bool]) -> Call:
    request = pb.SearchSessionsRequest()
    request.metadata_filter.update(metadata)
    answer = server.stub.SearchSessions(request)
    return Call(server.address, f"{SERVICE}/SearchSessions", request, answer.ByteSize())
