"""JSON objects as Structs, each converted once as long as it is asked for again and again.

An agent reads the same messages at each of its turns, and to convert their JSON takes several times as long as all else
of the call: a Struct is a tree of messages, whose bytes are made and read at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sessions_server.domain.jsonbytes import dumps
from sessions_server.rpc.convert.values import put_object

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct

    from sessions_server.domain.models import JsonObject

LARGEST_BYTES: Final = 4 * 1024
"""A larger object is converted each time."""

GENERATION_BYTES: Final = 4 * 1024 * 1024
"""How much a generation holds, of JSON and of Structs together. There are two."""


class RecentStructs:
    """The Structs that were made or used lately, by their JSON. Of no use to two threads at once."""

    def __init__(self, generation_bytes: int = GENERATION_BYTES) -> None:
        self._room = self._most = generation_bytes
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}

    def put(self, struct: Struct, value: JsonObject) -> None:
        """Fills an empty Struct, and makes it present where it is a field."""
        json = dumps(value)
        if len(json) > LARGEST_BYTES:
            put_object(struct, value)
            return
        made = self._young.get(json)
        if made is None:
            made = self._old.get(json)
            if made is None:
                put_object(struct, value)
                self._keep(json, struct.SerializeToString())
                return
            self._keep(json, made)
        struct.SetInParent()
        struct.MergeFromString(made)

    def _keep(self, json: bytes, made: bytes) -> None:
        self._room -= len(json) + len(made)
        if self._room < 0:
            self._room = self._most - len(json) - len(made)
            self._young, self._old = {}, self._young
        self._young[json] = made
