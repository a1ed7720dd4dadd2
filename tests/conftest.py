"""Fixtures and settings shared by several folders."""

from __future__ import annotations

import gc
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from tests.support.postgres import Postgres, running_postgres

# Time limits are for benchmarks; a busy machine must not fail a test.
settings.register_profile("untimed", deadline=None)
# For `make test-fast`.
settings.register_profile("fast", deadline=None, max_examples=20)
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exempts modules and collected tests from garbage collection, which would traverse them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


# A shell makes background jobs ignore SIGINT. Programs started by tests would inherit that, and a test that interrupts
# one would wait forever. https://docs.python.org/3/library/signal.html#signal.signal
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One PostgreSQL for all tests that do not harm it. It does not sync to disk, since no test cuts its power."""
    with running_postgres() as server:
        yield server
