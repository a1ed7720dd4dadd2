"""JSON Schema, without a look at anything outside the schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
from referencing import Registry

_NO_REMOTE: Registry[Any] = Registry()


def schema_problem(schema: Any) -> str | None:
    """What is wrong with a schema; None when nothing is."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"{error.json_path}: {error.message[:200]}".rstrip(".")
    return None


def violations(schema: Any, value: Any) -> Iterator[str]:
    """Where a value does not match a schema, without a full stop."""
    validator = jsonschema.Draft202012Validator(schema, registry=_NO_REMOTE)
    try:
        for error in sorted(validator.iter_errors(value), key=lambda each: each.json_path):
            where = error.json_path.removeprefix("$").removeprefix(".")
            yield f"`{where}`: {error.message[:200]}" if where else error.message[:200]
    except RecursionError:
        yield "the schema refers to itself without end"
    except Exception as error:
        # A reference that leads nowhere shows itself only here, as one of several private classes.
        yield f"the schema cannot be used ({str(error)[:200]})"
