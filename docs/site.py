"""Hooks of the documentation site: pages that are derived from the protos, and links out of the docs folder.

Links from a page to a file outside docs/ work where the repository is read; the site has no such files, so there they
become plain text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

from docs.protos import errors_page, read_protos, rpc_page

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+[^)]*\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are rendered from the protos."""
    protos = read_protos()
    for name, text in {
        "reference/rpcs.md": rpc_page(protos),
        "reference/errors.md": errors_page(protos),
    }.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to files that the site does not have into plain text."""

    def plain(link: re.Match[str]) -> str:
        target = re.sub(r"[)\s#].*", "", link[0].rsplit("](", 1)[1])
        here = page.file.src_uri.rsplit("/", 1)[0] if "/" in page.file.src_uri else ""
        depth = len(here.split("/")) if here else 0
        return link[0] if target.count("../") <= depth else link[1]

    return _OUTSIDE.sub(plain, markdown)
