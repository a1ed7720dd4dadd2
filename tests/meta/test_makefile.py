"""The Makefile documents itself, and pairs each check with its fix."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.meta.tree import ROOT, text_of

MAKEFILE = text_of(Path("Makefile"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):(?!=)", MAKEFILE, re.MULTILINE))


def understood() -> str:
    """The Makefile as make has read it, with lines that were continued on one line."""
    done = subprocess.run(
        ["make", "--print-data-base", "--dry-run", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_help_is_the_default_and_lists_every_target() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    plain = re.sub(r"\x1b\[\d*m", "", done.stdout)
    assert {line.split()[0] for line in plain.splitlines()} == TARGETS


def test_every_target_is_phony() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", understood(), re.MULTILINE)
    assert set(phony.split()) == TARGETS


def test_verify_runs_every_check_and_all_tests() -> None:
    [checks] = re.findall(r"^VERIFY := (.*)$", understood(), re.MULTILINE)
    assert set(checks.split()) == {name for name in TARGETS if name.startswith("verify-")}
    [recipe] = re.findall(r"^verify:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    runs = [line.split("$(MAKE) --no-print-directory ")[1] for line in recipe.splitlines()]
    assert runs == [
        "--jobs 2 --output-sync=target $(filter-out verify-oldest,$(VERIFY))",
        "verify-oldest test",
    ]


def test_every_failing_check_names_its_fix() -> None:
    recipes = re.findall(r"^(verify-[a-z]+):.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert {name for name, _ in recipes} == {name for name in TARGETS if name.startswith("verify-")}
    assert [name for name, recipe in recipes if "$(call cure," not in recipe] == []


def test_continuous_integration_runs_the_same_command_as_a_contributor() -> None:
    assert text_of(Path(".ci/run")).splitlines()[-1] == "exec make verify"
