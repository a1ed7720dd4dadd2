"""Links in the documents lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.meta.tree import ROOT, project_files, text_of

FILES = project_files()
PLACES = {*FILES, *(folder for file in FILES for folder in file.parents)}


def headings(document: Path) -> set[str]:
    """The anchors that a browser finds."""
    titles = re.findall(r"^#+ (.*)$", text_of(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", project_files("*.md"), ids=str)
def test_every_link_leads_somewhere(document: Path) -> None:
    lost = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text_of(document)):
        name, _, anchor = link.partition("#")
        target = (ROOT / document.parent / name).resolve().relative_to(ROOT) if name else document
        if target not in PLACES or (anchor and anchor not in headings(target)):
            lost.append(link)
    assert lost == []
