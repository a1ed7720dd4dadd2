"""What an adapter says when its framework is not installed: `pip install sessions` brings no framework."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(extra: str, module: str) -> Iterator[None]:
    """Around the imports that need an extra: names it if one fails. `module` is the `__name__` of the adapter, which
    ends with the sentence alone when it runs as a program.

    Raises ModuleNotFoundError."""
    try:
        yield
    except ImportError as error:
        sentence = (
            f"A package that this needs cannot be imported ({error}); "
            f"install it with `pip install 'sessions[{extra}]'`."
        )
        if module == "__main__":
            sys.exit(sentence)
        raise ModuleNotFoundError(sentence) from error
