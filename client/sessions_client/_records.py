"""Records: small application values stored next to sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta  # noqa: TC003  # resolves type hints at run time
from typing import TYPE_CHECKING, Any, TypeAlias

from sessions_client._errors import refused
from sessions_client._json_form import Model, plain
from sessions_client._models import JsonObject

CollectionInput: TypeAlias = str | Iterable[str]
"""The path of a collection: a list of strings, or a single string for a path of length one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope(Model):
    """The owner of records: exactly one of a session, a user, the tenant or, in lists, all sessions.

    In a commit `Scope(session_id="")` is the commit's own session, also one that the commit creates."""

    session_id: str | None = None
    user_id: str | None = None
    tenant: bool = False
    all_sessions: bool = False

    def __post_init__(self) -> None:
        is_single = self.session_id is not None
        if is_single + (self.user_id is not None) + self.tenant + self.all_sessions != 1:
            raise refused(
                "scope", "must be exactly one of session_id=, user_id=, tenant=True, all_sessions=True."
            )


@dataclass(frozen=True, slots=True, init=False)
class RecordName(Model):
    """The name of a record: its owner, the path of its collection, and its key, which may be empty."""

    scope: Scope
    collection: tuple[str, ...]
    key: str

    def __init__(self, scope: Scope, collection: CollectionInput, key: str = "") -> None:
        object.__setattr__(self, "scope", scope)
        object.__setattr__(self, "collection", path_of(collection))
        object.__setattr__(self, "key", key)


class ConvertedLater(Model):
    """A model whose fields may be converted when they are first used: a program that lists a thousand records often
    needs only their values."""

    __slots__ = ("_convert", "_index")

    _convert: Callable[[int, str], Any]
    """The value of a field that has not been used. Shared by the models of a list: Python's garbage collector takes
    time for each further object."""
    _index: int
    """The model's place in its list."""

    if not TYPE_CHECKING:  # or every misspelled name would pass

        def __getattr__(self, name):
            if name not in self.__dataclass_fields__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = self._convert(self._index, name)
            object.__setattr__(self, name, value)
            return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(ConvertedLater):
    """One record as it was read."""

    name: RecordName
    value: bytes = b""
    """The value as written, byte for byte; empty in a list with `keys_only=True`."""
    value_type: str = ""
    """The media type of `value`, such as `application/json`."""
    labels: JsonObject = field(default_factory=dict)
    """Values that lists can filter by; never encrypted."""
    time: datetime | None = None
    """The time that `order_by="time"` uses."""
    ttl: timedelta | None = None
    """The lifetime since the last write or refreshing read; None means unlimited."""
    etag: str = ""
    """Changes with every write of the record."""
    create_time: datetime | None = None
    update_time: datetime | None = None
    expire_time: datetime | None = None
    """The end of the `ttl`; None means never."""

    def __hash__(self) -> int:
        """Hash by name and etag, since labels are a dict."""
        return hash((self.name, self.etag))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordResult(Model):
    """The result of writing a record."""

    etag: str
    kept: bool
    """Whether an existing record was kept because of `if_absent=True`."""


class RecordList(list[Record], Model):
    """One page of records: a `list` with a token for the next page."""

    __slots__ = ("next_page_token",)

    def __init__(self, records: Iterable[Record] = (), *, next_page_token: str = "") -> None:
        super().__init__(records)
        self.next_page_token = next_page_token
        """Pass it as `page_token=` to continue after this page; empty on the last page."""

    def to_dict(self) -> JsonObject:
        """Returns `records` and `next_page_token`."""
        return {"records": plain(list(self)), "next_page_token": self.next_page_token}


def path_of(collection: CollectionInput) -> tuple[str, ...]:
    """The path of a collection as a tuple. A single string is a path of length one."""
    return (collection,) if isinstance(collection, str) else tuple(collection)
