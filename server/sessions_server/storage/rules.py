"""What every transaction and read of a store needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sessions_server.storage.recent_contexts import RecentContexts

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Cells
    from sessions_server.storage.backend import Backend


@dataclass(frozen=True, slots=True)
class Rules:
    backend: Backend
    cells: Cells
    limits: Limits
    contexts: RecentContexts = field(default_factory=RecentContexts)
    """Only for write transactions, which run one at a time in a thread."""
