"""What tests of several folders share."""

from __future__ import annotations

import gc
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from tests.support.postgres import Postgres, running_postgres

# Limits on time stand in the benchmarks; a busy machine fails no test.
settings.register_profile("untimed", deadline=None)
# Of `make test-fast`.
settings.register_profile("fast", deadline=None, max_examples=20)
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: the garbage collector would look through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


# A shell has what it starts in the background ignore Ctrl-C, programs that the tests start would inherit that, and a
# test that interrupts one would wait forever. https://docs.python.org/3/library/signal.html#signal.signal
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One PostgreSQL for all tests that do not harm it. It does not wait for the disk: none of them pulls its plug."""
    with running_postgres() as server:
        yield server
