"""What every transaction and read of a store needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Cells
    from sessions_server.storage.backend import Backend


@dataclass(frozen=True, slots=True)
class Rules:
    backend: Backend
    cells: Cells
    limits: Limits
