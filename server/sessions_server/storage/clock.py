"""The system's clock."""

from __future__ import annotations

import time

from sessions_server.domain.models import Micros


class SystemClock:
    def now(self) -> Micros:
        return Micros(time.time_ns() // 1_000)
