"""The client for asyncio. The synchronous one beside it is derived from this one."""

from __future__ import annotations
