# Derived from sessions_client/_async/__init__.py by client/unasync.py. Change that file, then run:
#     python client/unasync.py
"""The client for asyncio, from which the synchronous one is generated."""

from __future__ import annotations
