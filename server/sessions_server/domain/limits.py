"""The limits that a deployment may move, with the contract's defaults."""

from __future__ import annotations

from dataclasses import dataclass

from sessions_server.domain.models import SECOND, Micros

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that a double tells apart from its neighbours."""

MAX_DEPTH = 32
"""How deep JSON may nest; protobuf's parsers stop a little above."""

KIB = 1024
MIB = 1024 * KIB
YEAR = Micros(365 * 24 * 3600 * SECOND)


@dataclass(frozen=True, slots=True)
class Limits:
    context_bytes: int = MIB
    context_keys: int = 10_000
    context_changes: int = 100
    metadata_bytes: int = 64 * KIB
    metadata_keys: int = 256
    content_bytes: int = 256 * KIB
    data_bytes: int = 256 * KIB
    payload_bytes: int = 3 * MIB
    messages_per_add: int = 1_000
    commit_conditions: int = 100
    commit_operations: int = 4_000
    reads: int = 100
    """Of one `Read`, and after one commit."""
    page_size: int = 1_000
    default_page_size: int = 100
    answer_bytes: int = 4 * MIB
    """What gRPC clients take in one answer unless told otherwise."""
    wire_bytes: int = 7 * MIB // 2
    """The most that one stored value takes in an answer, with room for what stands beside it. Metadata, data and
    content of a message are so limited that they stay below together."""
    page_bytes: int = MIB
    """About how much metadata or message content, as it is on the wire, one page carries."""
    read_bytes: int = 3 * MIB
    """About how much several reads in one call carry."""
    default_window: int = 100
    shortest_span: Micros = SECOND
    longest_span: Micros = Micros(10 * YEAR)
    temporary_ttl: Micros = Micros(24 * 3600 * SECOND)
    request_ids_kept: Micros = Micros(24 * 3600 * SECOND)
    events_kept: Micros = Micros(7 * 24 * 3600 * SECOND)
    record_bytes: int = 3 * MIB
    record_page_bytes: int = 3 * MIB
    """About how much one page of records carries on the wire; one record may be larger."""
    records_per_delete: int = 10_000
    """How many records one deletion of a prefix may take with it."""
