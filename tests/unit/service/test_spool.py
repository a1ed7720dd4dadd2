"""The temporary file of an import, in folders that cannot store it."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import IO, TYPE_CHECKING, Any

import pytest

from sessions_server.domain.errors import DomainError, StorageFull, Unavailable
from sessions_server.domain.transfer import ContextRecord
from sessions_server.service.sealing import Plain
from sessions_server.service.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path

LARGE = ContextRecord({"text": "x" * 2_000_000})
"""More than is kept in memory."""


@pytest.fixture
def no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))


@pytest.fixture
def failing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder in which no file can be created, with the system's error."""

    def refuse(*_: object, **__: object) -> IO[Any]:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


async def append_large() -> None:
    spool = Spool(Plain())
    try:
        await spool.append(LARGE)
    finally:
        spool.close()


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        pytest.param(errno.ENOSPC, StorageFull, id="full"),
        pytest.param(errno.EDQUOT, StorageFull, id="quota"),
        pytest.param(errno.EACCES, Unavailable, id="not writable"),
        pytest.param(errno.EMFILE, Unavailable, id="no descriptors left"),
    ],
    indirect=["failing"],
)
@pytest.mark.usefixtures("failing")
async def test_an_unusable_folder_refuses_an_import_for_the_right_reason(
    error: type[DomainError],
) -> None:
    with pytest.raises(error) as caught:
        await append_large()
    assert tempfile.gettempdir() not in caught.value.message


@pytest.mark.usefixtures("no_folder")
async def test_a_missing_folder_refuses_an_import_temporarily() -> None:
    with pytest.raises(Unavailable):
        await append_large()
