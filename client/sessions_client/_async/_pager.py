"""Listings, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from sessions_client._async import _backend
from sessions_client._convert._scalars import listing_limit

T = TypeVar("T")


class AsyncPage(list[T]):
    """One page of a listing: a list that can fetch the next page."""

    def __init__(
        self, items: list[T], *, next_page_token: str, fetch: _backend.FetchPage[T], left: int | None
    ) -> None:
        super().__init__(items)
        self.next_page_token = next_page_token
        """Pass it to `list(page_token=…)` to continue from here; empty after the last page."""
        self._fetch = fetch
        self._left = left

    def __reduce__(self) -> tuple[type[list[T]], tuple[list[T]]]:
        """Copies and pickles as a plain list, without the connection."""
        return list, (list(self),)

    async def next_page(self) -> AsyncPage[T] | None:
        """Returns the page after this one, None after the last or when the listing's limit is reached."""
        if not self.next_page_token or self._left == 0:
            return None
        return await _load(self._fetch, self.next_page_token, self._left)


class AsyncPager(_backend.Startable[AsyncPage[T]], Generic[T]):
    """All items of a listing. Iterating over it fetches each page when it is reached."""

    def __init__(self, fetch: _backend.FetchPage[T], *, page_token: str, limit: int | None) -> None:
        self._fetch = fetch
        self._page_token = page_token
        self._limit = listing_limit(limit)
        self._first: AsyncPage[T] | None = None

    async def _start(self) -> AsyncPage[T]:
        if self._first is None:
            self._first = await _load(self._fetch, self._page_token, self._limit)
        return self._first

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page:
                yield item

    async def pages(self) -> AsyncIterator[AsyncPage[T]]:
        """The same items, a page at a time."""
        page: AsyncPage[T] | None = await self._start()
        while page is not None:
            yield page
            page = await page.next_page()


async def _load(fetch: _backend.FetchPage[T], page_token: str, most: int | None) -> AsyncPage[T]:
    """Fetches the page that begins at the token, with at most as many items as requested."""
    items, next_page_token = await fetch(page_token, most)
    left = None if most is None else most - len(items)
    return AsyncPage(items, next_page_token=next_page_token, fetch=fetch, left=left)
