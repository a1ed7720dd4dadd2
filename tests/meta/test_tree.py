"""What must not occur in the tree, or only in one place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.meta.tree import project_files, text_of, written_by_hand


def places(pattern: str, paths: list[Path]) -> list[str]:
    """`file:line` of every match."""
    wanted = re.compile(pattern)
    return [
        f"{path}:{number}"
        for path in paths
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if wanted.search(line)
    ]


# Each pattern is written so that it does not match its own line.
@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"\b(TOD[O]|FIXM[E]|XX[X])\b", id="open ends"),
        pytest.param(r"(?<!except )NotImplemente[d]Error|pas[s]  # stub", id="stubs"),
        pytest.param(r"pytest\.ski[p]\(|mark\.ski[p]|mark\.xfai[l]|importorski[p]", id="skipped tests"),
        pytest.param(r"(^|[^\w.])/(?:work|farm|root|home|Users)/", id="paths of one machine"),
    ],
)
def test_no_file_contains(pattern: str) -> None:
    assert places(pattern, written_by_hand()) == []


def test_each_rule_that_is_set_aside_has_its_reason_beside_it() -> None:
    # Each mistake of the typing cases is one that the type checker has to find, as their docstring says.
    paths = [path for path in written_by_hand("*.py") if path.name != "typing_cases.py"]
    reason = r"(?:: [A-Z0-9, ]+|\[[a-z, -]+\])  # [\w`]"
    assert places(rf"# (?:noq[a]|type: ignor[e])\b(?!{reason})", paths) == []


def test_status_codes_are_named_in_one_file_of_the_server() -> None:
    server = project_files("server/*.py")
    elsewhere = [path for path in server if path != Path("server/sessions_server/rpc/errors.py")]
    assert places(r"StatusCode\.[A-Z]", elsewhere) == []


def test_sqlalchemy_is_imported_in_storage_and_the_composition_root_only() -> None:
    package = Path("server/sessions_server")
    allowed = [package / "app.py", *project_files("server/sessions_server/storage/*.py")]
    elsewhere = [path for path in project_files("server/*.py") if path not in allowed]
    assert places(r"^\s*(import|from) sqlalchemy", elsewhere) == []


def test_contracts_between_layers_are_in_the_domain() -> None:
    package = Path("server/sessions_server")
    # What gRPC's and protobuf's own types have in common.
    shapes = [package / "rpc/convert/common.py", package / "rpc/methods.py"]
    others = [
        path
        for path in project_files("server/*.py")
        if path.parent != package / "domain" and path not in shapes
    ]
    assert places(r"^class .*[(, ]Protocol(\[.*\])?\)", others) == []


def test_prose_and_protos_have_lines_of_at_most_120_characters() -> None:
    """Tables and code of a document may be wider."""
    wide = []
    for path in written_by_hand("*.md", "*.proto"):
        in_code = False
        for number, line in enumerate(text_of(path).splitlines(), start=1):
            is_fence = line.lstrip().startswith(("```", "~~~"))
            in_code ^= is_fence and path.suffix == ".md"
            if len(line) > 120 and not (in_code or is_fence or line.lstrip().startswith("|")):
                wide.append(f"{path}:{number}")
    assert wide == []
