"""The commands of docs/cli.md print what the page says."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

from tests.meta.readme import Block, blocks, prints
from tests.meta.tree import text_of
from tests.support.terminals import Shell

BLOCKS = list(blocks(text_of(Path("docs/cli.md"))))


def test_every_block_prints_what_the_page_says(shell: Shell, tmp_path: Path) -> None:
    env = shell.on_path()
    shown = 0
    for block, following in pairwise([*BLOCKS, Block("", "", 0)]):
        if block.word == "bash":
            bash = shutil.which("bash") or "bash"
            done = subprocess.run(
                [bash, "-euc", block.text], env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert prints(following.text, done.stdout), (
                f"docs/cli.md:{following.line}: it prints {done.stdout!r}"
            )
            shown += 1
    assert shown
