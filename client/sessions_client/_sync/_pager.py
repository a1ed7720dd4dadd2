# Derived from sessions_client/_async/_pager.py by client/unasync.py. Change that file, then run:
#     python client/unasync.py
"""Listings, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from sessions_client._sync import _backend

T = TypeVar("T")


class Page(list[T]):
    """One page of a listing: a list that knows where the next page begins."""

    def __init__(self, items: list[T], *, next_page_token: str, fetch: _backend.FetchPage[T]) -> None:
        super().__init__(items)
        self.next_page_token = next_page_token
        """What `list(page_token=…)` takes to go on from here; empty after the last page."""
        self._fetch = fetch

    def __reduce__(self) -> tuple[type[list[T]], tuple[list[T]]]:
        """A copy, or what is pickled, is a plain list: it has no connection."""
        return list, (list(self),)

    def next_page(self) -> Page[T] | None:
        """The page after this one, None after the last."""
        return _load(self._fetch, self.next_page_token) if self.next_page_token else None


class Pager(_backend.Startable[Page[T]], Generic[T]):
    """Everything that a listing finds. Iterating it brings all pages, each fetched when it is reached."""

    def __init__(self, fetch: _backend.FetchPage[T], *, page_token: str) -> None:
        self._fetch = fetch
        self._page_token = page_token
        self._first: Page[T] | None = None

    def _start(self) -> Page[T]:
        if self._first is None:
            self._first = _load(self._fetch, self._page_token)
        return self._first

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[Page[T]]:
        """The same, a page at a time."""
        page: Page[T] | None = self._start()
        while page is not None:
            yield page
            page = page.next_page()


def _load(fetch: _backend.FetchPage[T], page_token: str) -> Page[T]:
    items, next_page_token = fetch(page_token)
    return Page(items, next_page_token=next_page_token, fetch=fetch)
