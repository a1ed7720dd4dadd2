"""Settings as flags: a command takes each of its settings from a flag or from the environment."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from sessions_server.setting_values import to_flag
from sessions_server.settings import PREFIX, SETTINGS, flag_of, read_settings

DATABASE = ("database_url", "keyring", "allow_unsafe_durability")
"""The settings that every command with a database takes."""


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Passes all settings to the command as its parameter `settings`, and adds flags for the named ones."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            flags = {name: given.pop(name) for name in names}
            command(settings=read_settings(**flags), **given)

        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [parameter for parameter in own if parameter.name != "settings"]
        parameters += [_parameter(name) for name in names]
        run.__doc__, run.__name__ = command.__doc__, command.__name__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
        return run

    return decorate


def _parameter(name: str) -> inspect.Parameter:
    kind = bool if SETTINGS[name].read is to_flag else str
    text = f"{SETTINGS[name].description} [{PREFIX}{name.upper()}]".replace("`", "")
    option = typer.Option(flag_of(name), help=text, show_default=False)
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]  # the type is known only at run time
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
