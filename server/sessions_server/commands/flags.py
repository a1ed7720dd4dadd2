"""Settings as flags: a command takes each of its settings from a flag or from the environment."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from sessions_server.domain.errors import SetupError
from sessions_server.settings import PREFIX, Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

DATABASE = ("database_url", "keyring", "allow_unsafe_durability")
"""The settings that every command with a database takes."""


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Passes all settings to the command as its parameter `settings`, and adds flags for the named ones."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            flags = {name: given.pop(name) for name in names}
            command(settings=_settings(flags), **given)

        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [parameter for parameter in own if parameter.name != "settings"]
        parameters += [_parameter(name, Settings.model_fields[name]) for name in names]
        run.__doc__, run.__name__ = command.__doc__, command.__name__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
        return run

    return decorate


def _settings(flags: dict[str, Any]) -> Settings:
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise SetupError(" ".join(_sentence(item["loc"], item["msg"]) for item in error.errors())) from None


def _sentence(place: tuple[int | str, ...], problem: str) -> str:
    reason = problem.removeprefix("Value error, ")
    if not place:  # an error about several settings together
        return f"{reason}."
    name = str(place[0]).lower().removeprefix(PREFIX.lower())
    return f"{_flag(name)} ({PREFIX}{name.upper()}) cannot be used: {reason}; see --help."


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    kind = bool if field.annotation is bool else str
    text = f"{field.description or ''} [{PREFIX}{name.upper()}]".replace("`", "")
    option = typer.Option(_flag(name), help=text, show_default=False)
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]  # the type is known only at run time
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
