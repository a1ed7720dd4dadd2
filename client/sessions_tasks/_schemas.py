"""JSON Schema validation that never loads anything outside the schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
from referencing import Registry

_NO_REMOTE: Registry[Any] = Registry()


def schema_problem(schema: Any) -> str | None:
    """What is wrong with a schema; None if it is valid."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"{error.json_path}: {error.message[:200]}".rstrip(".")
    return None


def violations(schema: Any, value: Any) -> Iterator[str]:
    """Where a value does not match a schema, without a final period."""
    validator = jsonschema.Draft202012Validator(schema, registry=_NO_REMOTE)
    try:
        for error in sorted(validator.iter_errors(value), key=lambda each: each.json_path):
            where = error.json_path.removeprefix("$").removeprefix(".")
            yield f"`{where}`: {error.message[:200]}" if where else error.message[:200]
    except RecursionError:
        yield "the schema refers to itself without end"
    except Exception as error:
        # An unresolvable reference only shows here, as one of several private exception classes.
        yield f"the schema cannot be used ({str(error)[:200]})"
