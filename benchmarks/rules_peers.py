"""Measures in-process libraries that store conversations, each in a separate environment with pinned versions.

They need no network and serve only their own process, so the server that they are compared with has the harder task.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.environments import python_of
from benchmarks.ours import Ours
from benchmarks.plan import Plan
from benchmarks.processes import ROOT, measured_in_child, scratch
from benchmarks.report import Finding, Rounds
from benchmarks.rules_calls import ours

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


PEERS: Final = (
    Peer("openai_sqlalchemy", "openai_agents", "OpenAI Agents SDK SQLAlchemySession", 20),
    Peer("google_adk", "google_adk", "Google ADK DatabaseSessionService", 20),
    Peer("openai_sqlite", "openai_agents", "OpenAI Agents SDK SQLiteSession", 2),
    Peer("langgraph", "langgraph", "LangGraph AsyncSqliteSaver", 2),
)


def peers(plan: Plan) -> list[Finding]:
    """Four in-process libraries that store a message on SQLite, relative to our durable adds."""
    pythons = {
        peer.environment: python_of(ENVIRONMENTS / peer.environment, PINS / f"{peer.environment}.txt")
        for peer in PEERS
    }
    with ours() as server:
        sessions = server.sessions()
        server.load_adds(sessions, seconds=plan.seconds / 2)
        return [_beside(plan, server, sessions, peer, pythons[peer.environment]) for peer in PEERS]


def _beside(plan: Plan, server: Ours, sessions: list[str], peer: Peer, python: Path) -> Finding:
    """Both alternately, each with 64 callers on four sessions."""
    own: list[float] = []
    together: list[float] = []
    alone: list[float] = []
    for _ in range(max(plan.rounds - 2, 1)):
        own.append(server.load_adds(sessions, seconds=plan.seconds).rate)
        found = rates(peer, python, seconds=plan.seconds)
        alone.append(found["1"])
        together.append(found["64"])
    ratio = Rounds(together, own).ratio
    numbers = {
        "ours, 64 callers": own,
        "peer, 1 caller": alone,
        "peer, 64 callers": together,
        "unit": "messages/s",
    }
    what = f"durable AddMessage beside {peer.what} in process, 64 callers both"
    return Finding(f"peer_{peer.program}", what, peer.asked, ratio, at_least=True, numbers=numbers)


def rates(peer: Peer, python: Path, *, seconds: float) -> dict[str, float]:
    """How many messages per second a library adds, by number of callers."""
    with scratch() as folder:
        module = f"benchmarks.peers.{peer.program}"
        found: dict[str, float] = measured_in_child(module, folder, seconds, what=peer.what, python=python)
    return found
