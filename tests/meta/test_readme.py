"""Pasting the README's blocks gives the output that the README shows."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.meta.readme import (
    DEFAULT_ADDRESS,
    DEFAULT_URL,
    NEWCOMER_SECONDS,
    Block,
    Newcomer,
    blocks,
    prints,
)
from tests.meta.tree import text_of

README = list(blocks(text_of(Path("README.md"))))


def test_the_first_screen_is_an_installation_and_a_program_without_a_server() -> None:
    install, program = README[:2]
    assert install.text.startswith("pip install ")
    assert 'Client("./chat.db")' in program.text


def test_the_server_is_started_before_it_is_called() -> None:
    [started, *_] = (number for number, block in enumerate(README) if block.word == "bash")
    [called, *_] = (number for number, block in enumerate(README) if f'"{DEFAULT_ADDRESS}"' in block.text)
    assert started < called


def test_the_readmes_blocks_work_as_shown(tmp_path: Path) -> None:
    began, first_event = time.monotonic(), 0.0
    with Newcomer(tmp_path) as newcomer:
        for block, following in pairwise([*README, Block("", "", 0)]):
            if block.word in ("bash", "python"):
                printed = newcomer.paste(block)
                if "subscribe(" in block.text:
                    first_event = first_event or time.monotonic() - began
                if block.word == "python" and following.word == "text":
                    assert prints(following.text, printed), (
                        f"README.md:{following.line}: it prints {printed!r}"
                    )
        assert newcomer.address != DEFAULT_ADDRESS, "no block of README.md starts a server"
    assert 0 < first_event < NEWCOMER_SECONDS


def test_blocks_are_found_with_their_language_and_line() -> None:
    markdown = "# T\n\n```bash\nmake\n```\n\n1. item\n\n   ~~~python\n   if x:\n       y\n   ~~~\n\n````\n```\n````\n"
    assert list(blocks(markdown)) == [
        Block("bash", "make\n", 3),
        Block("python", "if x:\n    y\n", 9),
        Block("", "```\n", 14),
    ]


def test_a_block_without_an_end_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="line 1"):
        list(blocks("```python\nx = 1\n"))


def test_python_blocks_share_their_names_and_may_await(tmp_path: Path) -> None:
    with Newcomer(tmp_path) as newcomer:
        newcomer.paste(Block("python", "import asyncio\nx = 20\n", 1))
        assert newcomer.paste(Block("python", "print(await asyncio.sleep(0, x + 1))\n", 2)) == "21\n"


def test_a_script_ends_at_its_first_failing_command(tmp_path: Path) -> None:
    with Newcomer(tmp_path) as newcomer, pytest.raises(AssertionError, match="because"):
        newcomer.paste(Block("bash", "echo because >&2\nfalse\ntrue\n", 1))


def test_a_script_is_done_when_its_server_listens_and_later_blocks_call_that(tmp_path: Path) -> None:
    with Newcomer(tmp_path) as newcomer:
        lines = "echo listening on 127.0.0.1:7\necho HTTP on http://127.0.0.1:8\n"
        newcomer.paste(Block("bash", f"{lines}exec tail -f /dev/null\n", 1))
        code = f"print('{DEFAULT_ADDRESS} {DEFAULT_URL}')\n"
        assert newcomer.paste(Block("python", code, 2)) == "127.0.0.1:7 http://127.0.0.1:8\n"


def test_files_written_by_a_script_do_not_end_up_in_the_tree(tmp_path: Path) -> None:
    with Newcomer(tmp_path) as newcomer:
        newcomer.paste(Block("bash", "test -f Makefile\necho x > written.txt\n", 1))
    assert (tmp_path / "project" / "written.txt").exists()


def test_an_ellipsis_matches_any_text() -> None:
    assert prints("id: …\nstate: active\n", "id: 17\nstate: active\n")
    assert not prints("id: …\nstate: active\n", "id: 17\nstate: paused\n")
