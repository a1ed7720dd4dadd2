"""Listings, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sessions_client._async import _backend
from sessions_client._models import Session


class AsyncPage(list[Session]):
    """One page of a listing: a list of sessions that knows where the next page begins."""

    def __init__(self, sessions: list[Session], *, next_page_token: str, fetch: _backend.FetchPage) -> None:
        super().__init__(sessions)
        self.next_page_token = next_page_token
        """What `list(page_token=…)` takes to go on from here; empty after the last page."""
        self._fetch = fetch

    def __reduce__(self) -> tuple[type[list[Session]], tuple[list[Session]]]:
        """A copy, or what is pickled, is a plain list: it has no connection."""
        return list, (list(self),)

    async def next_page(self) -> AsyncPage | None:
        """The page after this one, None after the last."""
        return await _load(self._fetch, self.next_page_token) if self.next_page_token else None


class AsyncPager(_backend.Startable[AsyncPage]):
    """The sessions that a listing finds. Iterating it brings all pages, each fetched when it is reached."""

    def __init__(self, fetch: _backend.FetchPage, *, page_token: str) -> None:
        self._fetch = fetch
        self._page_token = page_token
        self._first: AsyncPage | None = None

    async def _start(self) -> AsyncPage:
        if self._first is None:
            self._first = await _load(self._fetch, self._page_token)
        return self._first

    async def __aiter__(self) -> AsyncIterator[Session]:
        async for page in self.pages():
            for session in page:
                yield session

    async def pages(self) -> AsyncIterator[AsyncPage]:
        """The same, a page at a time."""
        page: AsyncPage | None = await self._start()
        while page is not None:
            yield page
            page = await page.next_page()


async def _load(fetch: _backend.FetchPage, page_token: str) -> AsyncPage:
    sessions, next_page_token = await fetch(page_token)
    return AsyncPage(sessions, next_page_token=next_page_token, fetch=fetch)
