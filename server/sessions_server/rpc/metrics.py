"""What is measured about calls and transactions. This class counts nothing; the one in `rpc.prometheus` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Metrics:
    """The metrics of a server that does not serve them, which need no package to be imported."""

    def handled(self, method: str, code: str) -> None:
        """Counts an answered call."""

    def took(self, method: str, seconds: float) -> None:
        """Records how long a unary call took."""

    def committed(self, number: int, seconds: float) -> None:
        """Counts one durable write transaction with this many commits."""

    def serving(self, is_serving: bool, /) -> None:
        """Whether calls are accepted, as in health."""

    @contextmanager
    def open_stream(self, method: str) -> Iterator[None]:
        """Counts a stream as open while the context lasts."""
        yield

    def show_drafts(self, count: Callable[[], int], size: Callable[[], int]) -> None:
        """Sets where the number and size of drafts come from."""

    def show_searches(self, *, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Sets where the numbers of searches come from."""

    def show_log(self, *, size: Callable[[], int], limit: Callable[[], int]) -> None:
        """Sets where the sizes of SQLite's write-ahead log come from; both are 0 with another database."""

    @contextmanager
    def served(self, listen: str) -> Iterator[str]:
        """Serves the metrics at `HOST:PORT` while the context lasts. Yields the address with the port that was
        actually bound; an empty one if none was asked for. Raises SetupError if it cannot listen there."""
        yield ""
