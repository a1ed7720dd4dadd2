"""The adapters that `make test` looks at; `make integrations` runs those of every framework."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integrations.runner import FRAMEWORKS, run_contract

EVERY = "SESSIONS_TEST_EVERY_FRAMEWORK"
"""An environment variable: `make test` is spared the environments of the other frameworks."""
COMMON = ("langgraph", "openai_agents")


@pytest.mark.parametrize("framework", FRAMEWORKS if os.environ.get(EVERY) else COMMON)
def test_the_adapter_keeps_the_contract_of_its_framework(framework: str, tmp_path: Path) -> None:
    ended = run_contract(framework, tmp_path)
    assert ended.returncode == 0, ended.stdout
