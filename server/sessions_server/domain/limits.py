"""Limits that a deployment can change, with the contract's defaults."""

from __future__ import annotations

from dataclasses import dataclass

from sessions_server.domain.models import SECOND, Micros

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer up to which doubles represent every integer."""

MAX_DEPTH = 32
"""How deep JSON may nest; protobuf's parsers allow slightly more."""

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
    """In one `Read`, or after one commit."""
    page_size: int = 1_000
    default_page_size: int = 100
    answer_bytes: int = 4 * MIB
    """The default response limit of gRPC clients."""
    wire_bytes: int = 7 * MIB // 2
    """The maximum size of one stored value in a response, with room for the other fields. The limits of metadata, data
    and content keep a message below it in total."""
    page_bytes: int = MIB
    """The approximate wire size of the metadata or message content on one page."""
    read_bytes: int = 3 * MIB
    """The approximate wire size of several reads in one call."""
    default_window: int = 100
    shortest_span: Micros = SECOND
    longest_span: Micros = Micros(10 * YEAR)
    temporary_ttl: Micros = Micros(24 * 3600 * SECOND)
    request_ids_kept: Micros = Micros(24 * 3600 * SECOND)
    events_kept: Micros = Micros(7 * 24 * 3600 * SECOND)
    record_bytes: int = 3 * MIB
    record_page_bytes: int = 3 * MIB
    """The approximate wire size of one page of records; a single record may be larger."""
    records_per_delete: int = 10_000
    """How many records one deletion by prefix may remove."""
