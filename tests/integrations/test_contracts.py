"""The adapters that `make test` checks; `make integrations` runs those of every framework."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integrations.runner import EVERY, FRAMEWORKS, environment_of, run_contract

COMMON = ("langgraph", "openai_agents")
TESTED = FRAMEWORKS if os.environ.get(EVERY) else COMMON


# A separate test, so that a slow network counts against no contract.
@pytest.mark.parametrize("framework", TESTED)
def test_the_environment_of_the_framework_can_be_created(framework: str) -> None:
    assert environment_of(framework).is_file()


@pytest.mark.parametrize("framework", TESTED)
def test_the_adapter_fulfils_the_contract_of_its_framework(framework: str, tmp_path: Path) -> None:
    ended = run_contract(framework, tmp_path)
    assert ended.returncode == 0, ended.stdout
