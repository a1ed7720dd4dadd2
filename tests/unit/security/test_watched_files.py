"""Operators' files: replaced atomically, loaded again when they change, never replaced by an unusable version."""

from __future__ import annotations

import errno
import logging
import os
import threading
from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.errors import SetupError
from sessions_server.security.files import (
    WatchedFile,
    create_private,
    read_guarded,
    rewrite_private,
)

if TYPE_CHECKING:
    from pathlib import Path


class Timer:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "word"
    path.write_text("first")
    return path


def load(path: Path) -> str:
    text = read_guarded(path, refused_mode=0, absent="The file is gone.").decode()
    if text == "broken":
        raise SetupError("The file is broken; mend it.")
    return text


def rename_over(path: Path, text: str) -> None:
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(path)


def test_a_changed_file_is_read_again_after_a_second(path: Path, timer: Timer) -> None:
    watched = WatchedFile(path, load=load, monotonic=timer)
    path.write_text("second")

    assert watched.value() == "first"
    timer.seconds += 0.99
    assert watched.value() == "first"
    timer.seconds += 0.01
    assert watched.value() == "second"


def test_a_renamed_file_of_the_same_size_is_read(path: Path, timer: Timer) -> None:
    watched = WatchedFile(path, load=load, monotonic=timer)
    before = path.stat()
    rename_over(path, "other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    timer.seconds += 1

    assert watched.value() == "other"


def test_a_link_to_another_file_is_read(path: Path, tmp_path: Path, timer: Timer) -> None:
    (tmp_path / "target").write_text("target")
    link = tmp_path / "link"
    link.symlink_to(path)
    watched = WatchedFile(link, load=load, monotonic=timer)
    link.unlink()
    link.symlink_to(tmp_path / "target")
    timer.seconds += 1

    assert watched.value() == "target"


def test_an_unchanged_file_is_not_read_again(path: Path, timer: Timer) -> None:
    loads: list[str] = []

    def counting(path: Path) -> str:
        loads.append(load(path))
        return loads[-1]

    watched = WatchedFile(path, load=counting, monotonic=timer)
    for _ in range(5):
        timer.seconds += 1
        watched.value()

    assert loads == ["first"]


@pytest.mark.parametrize(("change", "problem"), [("broken", "mend it"), (None, "is gone")])
def test_an_unusable_version_is_logged_once_and_the_previous_stays(
    path: Path, timer: Timer, caplog: pytest.LogCaptureFixture, change: str | None, problem: str
) -> None:
    watched = WatchedFile(path, load=load, monotonic=timer)
    if change is None:
        path.unlink()
    else:
        path.write_text(change)

    for _ in range(3):
        timer.seconds += 1
        assert watched.value() == "first"

    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert problem in errors[0]

    rename_over(path, "mended")
    timer.seconds += 1
    assert watched.value() == "mended"


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.EIO])
def test_a_temporarily_unreadable_version_is_read_as_soon_as_possible(
    path: Path,
    timer: Timer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    shortage: int,
) -> None:
    def fail(*_: object) -> int:
        raise OSError(shortage, os.strerror(shortage))

    watched = WatchedFile(path, load=load, monotonic=timer)
    path.write_text("second")
    with monkeypatch.context() as during:
        during.setattr(os, "open", fail)
        for _ in range(3):
            timer.seconds += 1
            assert watched.value() == "first"
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert os.strerror(shortage) in errors[0]

    timer.seconds += 1
    assert watched.value() == "second"


def test_an_unusable_file_at_startup_is_an_error(path: Path, timer: Timer) -> None:
    path.write_text("broken")

    with pytest.raises(SetupError, match="mend it"):
        WatchedFile(path, load=load, monotonic=timer)


def test_no_thread_waits_while_another_reloads_the_file(path: Path, timer: Timer) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slow(path: Path) -> str:
        text = load(path)
        if text == "second":
            reading.set()
            go_on.wait()
        return text

    watched = WatchedFile(path, load=slow, monotonic=timer)
    path.write_text("second")
    timer.seconds += 1
    reader = threading.Thread(target=watched.value)
    reader.start()
    reading.wait()
    timer.seconds += 1

    assert watched.value() == "first"

    go_on.set()
    reader.join()
    assert watched.value() == "second"


def test_a_failed_change_leaves_the_file_and_its_folder_unchanged(path: Path) -> None:
    path.chmod(0o600)

    def fail(content: bytes) -> bytes:
        raise KeyError(content)

    with pytest.raises(KeyError):
        rewrite_private(path, fail, absent="")

    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_sees_the_old_content_until_the_new_is_complete(path: Path) -> None:
    path.chmod(0o600)
    seen: list[str] = []

    def change(content: bytes) -> bytes:
        seen.append(path.read_text())
        return content.upper()

    rewrite_private(path, change, absent="")

    assert (seen, path.read_text()) == (["first"], "FIRST")


def test_only_one_of_two_concurrent_writers_succeeds(path: Path) -> None:
    path.chmod(0o600)

    def change(content: bytes) -> bytes:
        with pytest.raises(SetupError, match="another command may be writing"):
            rewrite_private(path, bytes.lower, absent="")
        with pytest.raises(SetupError, match="another command may be writing"):
            create_private(path, b"")
        return content.upper()

    rewrite_private(path, change, absent="")

    assert path.read_text() == "FIRST"
