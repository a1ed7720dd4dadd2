"""The tool that derives the synchronous client."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import sessions_client

if TYPE_CHECKING:
    from types import ModuleType

TOOL = Path(sessions_client.__file__).parents[1] / "unasync.py"


@pytest.fixture
def unasync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, applied to a package of its own."""
    spec = importlib.util.spec_from_file_location("unasync", TOOL)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("SOURCE", "DERIVED"):
        folder = tmp_path / getattr(module, name).name
        folder.mkdir()
        monkeypatch.setattr(module, name, folder)
    (module.SOURCE / "_thing.py").write_text('"""A thing."""\n')
    module.write(module.wanted())
    return module


def test_the_synchronous_client_is_derived_from_the_asynchronous_one() -> None:
    checked = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("source", "derived"),
    [
        ("async def f(x): return await g(x)\n", "def f(x): return g(x)\n"),
        ("async with a as b: pass\n", "with a as b: pass\n"),
        ("[x async for x in y]\n", "[x for x in y]\n"),
        (
            "async def __anext__(self): raise StopAsyncIteration\n",
            "def __next__(self): raise StopIteration\n",
        ),
        ("from p._async import AsyncClient\n", "from p._sync import Client\n"),
        ("x: AsyncIterator[AsyncPage]\n", "x: Iterator[Page]\n"),
        (
            '"""Use `async with AsyncClient(a)` or `await client.close()`."""\n',
            '"""Use `with Client(a)` or `client.close()`."""\n',
        ),
        ('"""A plain function or an `async def`."""\n', '"""A plain function or an `async def`."""\n'),
        ("not_async_at_all = AsynchronousThing\n", "not_async_at_all = AsynchronousThing\n"),
    ],
)
def test_only_whole_words_are_replaced(unasync: ModuleType, source: str, derived: str) -> None:
    assert unasync.replace_words(source) == derived


def test_the_layout_follows_the_new_words(unasync: ModuleType) -> None:
    source = "for x in y:\n    yield x\nf(\n    a, b\n)\n"
    assert unasync.lay_out(source, name="_thing.py").endswith("yield from y\nf(a, b)\n")


def test_a_current_package_has_no_differences(unasync: ModuleType) -> None:
    assert unasync.differences(unasync.wanted()) == []


def test_each_kind_of_difference_is_detected(unasync: ModuleType) -> None:
    thing = unasync.DERIVED / "_thing.py"
    for content in (thing.read_text() + "\n", thing.read_text()[:-1], ""):
        thing.write_text(content)
        assert unasync.differences(unasync.wanted()) == ["_thing.py is missing or not current"]
    thing.unlink()
    assert unasync.differences(unasync.wanted()) == ["_thing.py is missing or not current"]
    (unasync.DERIVED / "_old.py").write_text("")
    assert "_old.py has no source" in unasync.differences(unasync.wanted())


def test_writing_fixes_all_differences_and_leaves_the_backend_alone(unasync: ModuleType) -> None:
    (unasync.DERIVED / "_thing.py").write_text("changed")
    (unasync.DERIVED / "_old.py").write_text("")
    (unasync.DERIVED / "_backend.py").write_text("by hand")
    unasync.write(unasync.wanted())
    assert unasync.differences(unasync.wanted()) == []
    assert (unasync.DERIVED / "_backend.py").read_text() == "by hand"
    assert not (unasync.DERIVED / "_old.py").exists()
