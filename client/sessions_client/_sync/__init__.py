# Derived from sessions_client/_async/__init__.py by client/unasync.py. Change that file, then run:
#     python client/unasync.py
"""The client for asyncio. The synchronous one beside it is derived from this one."""

from __future__ import annotations
