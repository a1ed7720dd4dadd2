"""The console in Debian's Chromium, served by a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from sessions_client import Client
from tests.support.browser import running_browser
from tests.support.server import Server, start_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


# Not a speed requirement: how long a busy machine may take before an expectation fails.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("server"), http=True) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """A page of 1280 by 800 pixels; fails on script errors and content policy violations."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Policy" in message.text else None)
    yield page
    context.close()
    assert faults == []
