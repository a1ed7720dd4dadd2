"""The sentence about a package that is not installed names the extra that brings it."""

from __future__ import annotations

import pytest

from sessions_server.commands.missing import sentence_for


@pytest.mark.parametrize(
    ("module", "extra"),
    [("typer", "server"), ("asyncpg.exceptions", "postgres"), ("nats.aio.client", "nats")],
)
def test_the_sentence_names_the_extra(module: str, extra: str) -> None:
    assert f"`pip install 'sessions[{extra}]'`" in sentence_for(ModuleNotFoundError(name=module))


def test_an_error_that_replaces_another_stands_for_it() -> None:
    error = ImportError("The SQLAlchemy asyncio module requires greenlet.")
    error.__cause__ = ModuleNotFoundError(name="greenlet")
    assert "'sessions[postgres]'" in sentence_for(error)


@pytest.mark.parametrize("name", [None, "sessions_server.domain.gone"])
def test_an_error_of_the_project_s_own_modules_is_not_hidden(name: str | None) -> None:
    error = ImportError("wrong", name=name)
    with pytest.raises(ImportError) as raised:
        sentence_for(error)
    assert raised.value is error
