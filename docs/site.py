"""Hooks of the documentation site: derived pages, and links out of the docs folder.

The pages in docs/ link to each other and to other files of the repository, so that they work when read in the
repository. Some of these files are pages of the site; links to the others become plain text there.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mkdocs.structure.files import File

from docs.commands import commands_page
from docs.protos import errors_page, read_protos, rpc_page

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parent.parent

ROOT_PAGES: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Files in the repository's root, and their pages on the site."""

_LINK: Final = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the derived pages: from the protos, the command lines and the files in the root."""
    protos = read_protos()
    derived = {
        "reference/rpcs.md": rpc_page(protos),
        "reference/errors.md": errors_page(protos),
        "reference/commands.md": commands_page(),
        **{page: (ROOT / file).read_text(encoding="utf-8") for file, page in ROOT_PAGES.items()},
    }
    for name, text in derived.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links lead to the site's pages, and turns links to files outside the site into plain text."""
    name = page.file.src_uri
    source = next((file for file, root_page in ROOT_PAGES.items() if root_page == name), f"docs/{name}")

    def on_site(link: re.Match[str]) -> str:
        text, target = link.groups()
        if ":" in target or target.startswith("#"):
            return link[0]
        path, hash_, anchor = target.partition("#")
        wanted = page_of(posixpath.normpath(posixpath.join(posixpath.dirname(source), path)))
        if wanted is None:
            return text
        return f"[{text}]({posixpath.relpath(wanted, posixpath.dirname(name) or '.')}{hash_}{anchor})"

    return _LINK.sub(on_site, markdown)


def page_of(file: str) -> str | None:
    """The site's page or picture for a file of the repository; None if it has none."""
    if file in ROOT_PAGES:
        return ROOT_PAGES[file]
    inside = file.removeprefix("docs/")
    return inside if inside != file and (ROOT / file).is_file() else None
