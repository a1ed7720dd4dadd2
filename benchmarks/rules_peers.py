"""Measures in-process libraries that store conversations, each in a separate environment with pinned versions.

They need no network and serve only their own process, so the server that they are compared with has the harder task.
They are also compared with our client on a database file, which needs no network either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.environments import python_of
from benchmarks.peers.repeat import CALLERS
from benchmarks.plan import Plan
from benchmarks.processes import ROOT, measured_in_child, scratch
from benchmarks.report import Finding, Rounds
from benchmarks.rules_calls import ours
from benchmarks.rules_local import through_file

ENVIRONMENTS: Final = ROOT / ".cache" / "bench-peers"
PINS: Final = ROOT / "benchmarks" / "peers"


@dataclass(frozen=True, slots=True)
class Peer:
    program: str
    """Its module in `benchmarks.peers`."""
    environment: str
    """Its environment, which is the name of its file of pinned versions."""
    what: str
    asked: float
    asked_of_file: float
    """The same of our client on a database file."""


PEERS: Final = (
    Peer("openai_sqlalchemy", "openai_agents", "OpenAI Agents SDK SQLAlchemySession", 20, 60),
    Peer("google_adk", "google_adk", "Google ADK DatabaseSessionService", 20, 60),
    Peer("openai_sqlite", "openai_agents", "OpenAI Agents SDK SQLiteSession", 2, 6),
    Peer("langgraph", "langgraph", "LangGraph AsyncSqliteSaver", 2, 6),
)


@dataclass(frozen=True, slots=True)
class _Rates:
    """Messages per second, by round."""

    server: list[float] = field(default_factory=list)
    file: list[float] = field(default_factory=list)
    peers: dict[Peer, list[dict[str, float]]] = field(default_factory=lambda: {peer: [] for peer in PEERS})


def peers(plan: Plan) -> list[Finding]:
    """Four in-process libraries that store a message on SQLite, relative to our durable adds through a server, and
    through a database file."""
    pythons = {
        peer.environment: python_of(ENVIRONMENTS / peer.environment, PINS / f"{peer.environment}.txt")
        for peer in PEERS
    }
    found = _Rates()
    with ours() as server:
        sessions = server.sessions()
        server.load_adds(sessions, seconds=plan.seconds / 2)
        for _ in range(max(plan.rounds - 2, 1)):
            found.server.append(server.load_adds(sessions, seconds=plan.seconds).rate)
            found.file.append(through_file(plan, callers=CALLERS)["rate"])
            for peer in PEERS:
                found.peers[peer].append(_rates(peer, pythons[peer.environment], seconds=plan.seconds))
    return [
        *(_beside_server(peer, found) for peer in PEERS),
        *(_beside_file(f"embedded_{peer.program}", peer, found, peer.asked_of_file) for peer in PEERS),
        *(_beside_file("embedded_adds", peer, found, 3) for peer in PEERS if peer.program == "openai_sqlite"),
    ]


def _beside_server(peer: Peer, found: _Rates) -> Finding:
    """Both with 64 callers on four sessions."""
    what = f"durable AddMessage beside {peer.what} in process, 64 callers both"
    return _finding(f"peer_{peer.program}", what, peer, found, found.server, peer.asked)


def _beside_file(name: str, peer: Peer, found: _Rates, asked: float) -> Finding:
    what = f"durable adds through Client('./x.db') beside {peer.what} in process, 64 tasks both"
    return _finding(name, what, peer, found, found.file, asked)


def _finding(name: str, what: str, peer: Peer, found: _Rates, own: list[float], asked: float) -> Finding:
    alone, together = ([rates[callers] for rates in found.peers[peer]] for callers in ("1", "64"))
    numbers = {
        "ours, 64 callers": own,
        "peer, 1 caller": alone,
        "peer, 64 callers": together,
        "unit": "messages/s",
    }
    ratio = Rounds(together, own).ratio
    return Finding(name, what, asked, ratio, at_least=True, numbers=numbers)


def _rates(peer: Peer, python: Path, *, seconds: float) -> dict[str, float]:
    """How many messages per second a library adds, by number of callers."""
    with scratch() as folder:
        module = f"benchmarks.peers.{peer.program}"
        found: dict[str, float] = measured_in_child(module, folder, seconds, what=peer.what, python=python)
    return found
