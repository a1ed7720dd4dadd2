"""What fits: the sizes of metadata and contexts, judged on what would be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessions_server.domain.context import measure
from sessions_server.domain.errors import InvalidRequest, LimitExceeded, Violation
from sessions_server.domain.jsonbytes import dumps
from sessions_server.domain.limits import MAX_DEPTH, Limits

if TYPE_CHECKING:
    from sessions_server.domain.models import JsonObject


def check_metadata(metadata: JsonObject, limits: Limits) -> None:
    if measure(metadata)[0] > limits.metadata_keys or len(dumps(metadata)) > limits.metadata_bytes:
        raise LimitExceeded(
            f"Metadata holds at most {limits.metadata_keys} keys and {limits.metadata_bytes} bytes of JSON; "
            "remove some of it, or keep it in the context.",
            field="metadata",
        )


def check_context(data: JsonObject, limits: Limits) -> None:
    keys, depth = measure(data)
    if depth > MAX_DEPTH:
        raise InvalidRequest(
            [Violation("context", f"JSON nests at most {MAX_DEPTH} levels; make it flatter.")]
        )
    if keys > limits.context_keys or len(dumps(data)) > limits.context_bytes:
        raise LimitExceeded(
            f"A context holds at most {limits.context_keys} keys and {limits.context_bytes} bytes of JSON; "
            "remove what is no longer needed.",
            field="context",
        )
