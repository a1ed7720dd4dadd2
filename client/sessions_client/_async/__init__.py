"""The client for asyncio, from which the synchronous one is generated."""

from __future__ import annotations
