"""A cache of JSON objects as encoded Structs.

An agent reads the same messages at every turn, and converting their JSON would take several times as long as the rest
of the call: a Struct is a tree of messages, whereas its bytes are written and parsed at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.struct_pb2 import Struct

from sessions_server.domain.jsonbytes import dumps, to_keep
from sessions_server.domain.recent import Recent
from sessions_server.rpc.convert.values import put_object

if TYPE_CHECKING:
    from sessions_server.domain.models import JsonObject

LARGEST_BYTES: Final = 4 * 1024
"""Larger objects are not cached."""

GENERATION_BYTES: Final = 4 * 1024 * 1024
"""How much each of the two generations holds: the JSON and the Structs."""


class RecentStructs:
    """Recently used Structs by their JSON. Thread-safe."""

    def __init__(self, generation_bytes: int = GENERATION_BYTES) -> None:
        self._recent: Recent[bytes, bytes] = Recent(generation_bytes)

    def put(self, struct: Struct, value: JsonObject) -> None:
        """Fills an empty Struct, and marks it as present if it is a field."""
        json = dumps(value)
        made = self._recent.find(json)
        if made is None:
            put_object(struct, value)
            self._keep(json, struct.SerializeToString())
        else:
            struct.SetInParent()
            struct.MergeFromString(made)

    def encoded(self, value: JsonObject) -> bytes:
        """The bytes of its Struct."""
        json = dumps(value)
        made = self._recent.find(json)
        if made is None:
            put_object(struct := Struct(), value)
            made = struct.SerializeToString()
            self._keep(json, made)
        return made

    def _keep(self, json: bytes, made: bytes) -> None:
        if len(json) <= LARGEST_BYTES:
            self._recent.keep(to_keep(json), made, len(json) + len(made))
