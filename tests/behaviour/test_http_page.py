"""The page on HTTP: its commands run unchanged, in order, and print what the page shows."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.meta.readme import blocks, prints
from tests.meta.tree import text_of
from tests.support.debian import environment_with
from tests.support.server import start_server

PAGE = text_of(Path("docs/http.md"))
DEFAULT_URL = "http://127.0.0.1:8080"


def test_the_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    compared = 0
    with start_server(tmp_path, http=True) as server:
        printed = ""
        for block in blocks(PAGE):
            if block.word == "bash":
                printed = run(block.text.replace(DEFAULT_URL, server.url), tmp_path)
            elif block.word == "text":
                assert prints(block.text, printed), f"docs/http.md:{block.line}: {printed}"
                compared += 1
    assert compared == 5


def run(script: str, folder: Path) -> str:
    command = ["bash", "-euo", "pipefail", "-c", script]
    env = environment_with("curl")
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout.replace("\r", "")
