"""An exported session: its content, and its JSON form.

Records are kept exactly as the server sent them, because the server checks their digest on import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from sessions_client._convert import _export_json as records, _transfer as transfer
from sessions_client._errors import refused
from sessions_client._export_lines import FORMAT, is_lines, read_lines, write_lines
from sessions_client._json_form import Model
from sessions_client._models import JsonObject, Message, Session

if TYPE_CHECKING:
    from datetime import datetime

    from sessions_proto.v1 import sessions_pb2 as pb


class SessionData(Model):
    """A whole session: metadata, configuration, context, history and records. `import_` accepts it or its JSON.

    It comes from `client.sessions.export(…)` or `SessionData.from_json(…)` and is not meant to be edited: the server
    refuses altered data.
    """

    __slots__ = ("_records",)

    def __init__(self, records: Sequence[pb.ExportRecord]) -> None:
        if not transfer.begins_with_header(records):
            raise refused("session_data", "does not begin with a header; give the whole export.")
        self._records = tuple(records)

    @property
    def version(self) -> int:
        """The version of the export format."""
        return transfer.read_header(self._records)[0]

    @property
    def export_time(self) -> datetime | None:
        """When the session was exported."""
        return transfer.read_header(self._records)[2]

    @property
    def session(self) -> Session:
        """The session at the time of the export."""
        return transfer.read_header(self._records)[1]

    @property
    def context(self) -> JsonObject:
        """The context."""
        return transfer.read_export_context(self._records)

    @property
    def messages(self) -> list[Message]:
        """The history, oldest first."""
        return list(transfer.read_export_messages(self._records))

    def to_dict(self) -> dict[str, Any]:
        """Returns the export as plain JSON values; `from_json` accepts them or their JSON and returns an equal
        export."""
        return {
            "format": FORMAT,
            "records": [records.record_to_json(record) for record in self._records],
        }

    def to_json_lines(self) -> str:
        """Returns the export as a file with one line of JSON per record, as `sessions export` and `sessions-server
        export` write it. These programs and `all_from_json` can read each other's files."""
        return write_lines([records.record_to_json(record) for record in self._records])

    @classmethod
    def from_json(cls, data: str | bytes | bytearray | Mapping[str, Any]) -> Self:
        """Reads what `to_json` or `to_json_lines` wrote: a string, its UTF-8 bytes, or the dict from a JSON parser.

        Raises InvalidArgument, naming the path, for anything else, and for a file with several sessions. The server
        checks on import whether the content was altered.
        """
        found = [cls._of_document(data)] if isinstance(data, Mapping) else cls.all_from_json(data)
        if len(found) != 1:
            raise refused(
                "session_data", f"holds {len(found)} sessions; read them with SessionData.all_from_json."
            )
        return found[0]

    @classmethod
    def all_from_json(cls, data: str | bytes | bytearray) -> list[Self]:
        """Reads every session of an export file, in order, including files of `sessions-server export`.

        Shared records of users and tenants are skipped. Raises InvalidArgument for an incomplete or altered file, and
        for encrypted sessions of `sessions-server export`, which only `sessions-server import` reads.
        """
        text = _text(data)
        if not is_lines(text):
            return [cls._of_document(_parse(text))]
        return [cls._of_records(found) for found in read_lines(text)]

    @classmethod
    def _of_document(cls, document: Mapping[str, Any]) -> Self:
        if document.get("format") != FORMAT or not isinstance(document.get("records"), list):
            raise refused(
                "session_data",
                f"is not an export; its `format` must be `{FORMAT}`, with a list of `records`.",
            )
        return cls._of_records(document["records"])

    @classmethod
    def _of_records(cls, found: list[Any]) -> Self:
        return cls(
            [
                records.record_from_json(record, field=f"session_data.records.{index}")
                for index, record in enumerate(found)
            ]
        )

    def __eq__(self, other: object) -> bool:
        return self._records == other._records if isinstance(other, SessionData) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # the records are mutable messages

    def __repr__(self) -> str:
        return f"<SessionData of session {self.session.id!r}, {len(self._records)} records>"


def _text(data: str | bytes | bytearray) -> str:
    if not isinstance(data, (str, bytes, bytearray)):
        raise refused("session_data", f"must be a SessionData or its JSON, not {type(data).__name__}.")
    try:
        return data if isinstance(data, str) else data.decode()
    except UnicodeDecodeError as exc:
        raise refused("session_data", "is not valid JSON.") from exc


def _parse(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise refused("session_data", "is not valid JSON.") from exc
    if not isinstance(document, dict):
        raise refused("session_data", "must be a JSON object.")
    return document


def session_data_of(given: SessionData | str | bytes | bytearray | Mapping[str, Any]) -> SessionData:
    """The data of `import_`, given as such or as JSON."""
    return given if isinstance(given, SessionData) else SessionData.from_json(given)


def records_of(data: SessionData) -> Sequence[pb.ExportRecord]:
    """The records to send."""
    return data._records
