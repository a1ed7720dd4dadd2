# Derived from sessions_client/_async/_pager.py by client/unasync.py. Change that file, then run:
#     python client/unasync.py
"""Listings, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from sessions_client._convert._scalars import listing_limit
from sessions_client._sync import _backend

T = TypeVar("T")


class Page(list[T]):
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

    def next_page(self) -> Page[T] | None:
        """Returns the page after this one, None after the last or when the listing's limit is reached."""
        if not self.next_page_token or self._left == 0:
            return None
        return _load(self._fetch, self.next_page_token, self._left)


class Pager(_backend.Startable[Page[T]], Generic[T]):
    """All items of a listing. Iterating over it fetches each page when it is reached."""

    def __init__(self, fetch: _backend.FetchPage[T], *, page_token: str, limit: int | None) -> None:
        self._fetch = fetch
        self._page_token = page_token
        self._limit = listing_limit(limit)
        self._first: Page[T] | None = None

    def _start(self) -> Page[T]:
        if self._first is None:
            self._first = _load(self._fetch, self._page_token, self._limit)
        return self._first

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[Page[T]]:
        """The same items, a page at a time."""
        page: Page[T] | None = self._start()
        while page is not None:
            yield page
            page = page.next_page()


def _load(fetch: _backend.FetchPage[T], page_token: str, most: int | None) -> Page[T]:
    """Fetches the page that begins at the token, with at most as many items as requested."""
    items, next_page_token = fetch(page_token, most)
    left = None if most is None else most - len(items)
    return Page(items, next_page_token=next_page_token, fetch=fetch, left=left)
