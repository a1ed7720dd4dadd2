"""Bearer tokens: identifies callers by a file of token hashes, which never contains a token.

Every invalid credential gets the same error, so that a refusal reveals nothing. The file is TOML, so that tokens are
added by appending entries and comments can say who owns them:

    [[tokens]]
    sha256 = "<64 hexadecimal digits>"      # of the token's text
    tenant = "acme"
    access = "write"                        # or "read"
    name = "web backend"                    # optional; shown in logs
    expires = 2027-01-31T09:00:00Z          # optional; an RFC 3339 time, without quotes

A changed file takes effect within about a second; an unusable one is logged as an error and the previous tokens stay
valid. To revoke a token remove its entry, preferably by renaming a complete file over the old one. An empty file
revokes all tokens.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import tomllib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sessions_server.domain.errors import PermissionDenied, SetupError, Unauthenticated
from sessions_server.domain.models import Micros
from sessions_server.domain.ports import Access, Caller
from sessions_server.security.files import WRITTEN_BY_OTHERS, WatchedFile, read_guarded

if TYPE_CHECKING:
    from pathlib import Path

    from sessions_server.domain.ports import Authenticator

# The prefix by which secret scanners recognize a token.
_TOKEN_PREFIX: Final = "sess_"
_TOKEN_BYTES: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS: Final = frozenset({"sha256", "tenant", "access", "name", "expires"})
_SHA256_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")
_TENANT: Final = re.compile(r"[A-Za-z0-9._~:@-]{1,128}")
_NAME_LENGTH: Final = 128
_BEARER: Final = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_INDEX_BYTES: Final = 8


class Anonymous:
    """A server without tokens: every caller is the tenant `default` and may write."""

    _CALLER: Final = Caller(tenant="default", access=Access.WRITE)

    def authenticate(
        self, authorization: Sequence[bytes | str], *, now: Micros, needed: Access = Access.READ
    ) -> Caller:
        return self._CALLER


class _Token(NamedTuple):
    digest: bytes
    caller: Caller


class TokenTable:
    """The tokens of one version of the file."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        # Looked up by the first bytes of a hash, which callers cannot choose; the whole hash is compared in constant
        # time.
        self._by_start: dict[bytes, list[_Token]] = {}
        for token in tokens:
            self._by_start.setdefault(token.digest[:_INDEX_BYTES], []).append(token)

    def find(self, digest: bytes) -> Caller | None:
        for token in self._by_start.get(digest[:_INDEX_BYTES], ()):
            if hmac.compare_digest(token.digest, digest):
                return token.caller
        return None


class TokenAuthenticator:
    """Identifies callers by a token table that is loaded at each use, so that a changed file takes effect."""

    def __init__(self, table: Callable[[], TokenTable]) -> None:
        self._table = table

    def authenticate(
        self, authorization: Sequence[bytes | str], *, now: Micros, needed: Access = Access.READ
    ) -> Caller:
        digest = _presented_digest(authorization)
        caller = None if digest is None else self._table().find(digest)
        if caller is None or (caller.expires_at is not None and caller.expires_at <= now):
            raise Unauthenticated(
                "The credential is missing or not valid; send exactly one `authorization` header, "
                "`Bearer` and a valid token."
            )
        if needed is Access.WRITE and caller.access is not Access.WRITE:
            raise PermissionDenied("This token may only read; use a token with write access.")
        return caller


def open_authenticator(tokens_path: Path | None) -> Authenticator:
    """The authenticator for this setting. Raises SetupError if the file cannot be used."""
    if tokens_path is None:
        return Anonymous()
    return TokenAuthenticator(WatchedFile(tokens_path, load=load_tokens).value)


class NewToken(NamedTuple):
    token: str
    """The token for the client. It is stored nowhere and cannot be recovered."""
    entry: str
    """The entry to append to the tokens file."""


def new_token(*, tenant: str, access: Access, name: str = "", expires: datetime | None = None) -> NewToken:
    """A new token and its entry. Raises SetupError for values that the file would not accept."""
    token = _TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    digest = sha256(token.encode()).hexdigest()
    optional = {"name": name or None, "expires": expires}
    fields: dict[str, str | datetime] = {"sha256": digest, "tenant": tenant, "access": access.value}
    fields |= {key: value for key, value in optional.items() if value is not None}
    if problems := list(_problems(fields)):
        raise SetupError(f"No token was made: {'; '.join(problems)}.")
    lines = [f"{key} = {_toml(value)}" for key, value in fields.items()]
    return NewToken(token, "\n".join(["[[tokens]]", *lines, ""]))


def load_tokens(path: Path) -> TokenTable:
    """Raises SetupError with every problem found and what to do."""
    absent = (
        f"There is no tokens file at {path}; correct the path, or make it by `sessions-server token new`."
    )
    content = read_guarded(path, refused_mode=WRITTEN_BY_OTHERS, absent=absent)
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise SetupError(f"{path} is not a TOML file: {exc}. Correct it.") from None
    entries = document.get("tokens", [])
    if not document.keys() <= {"tokens"} or not isinstance(entries, list):
        raise SetupError(f"{path} may hold nothing but [[tokens]] entries; correct it.")
    return TokenTable(_read_entries(path, entries))


def _read_entries(path: Path, entries: list[Any]) -> list[_Token]:
    numbered = enumerate(entries, start=1)
    if problems := [f"entry {place}: {text}" for place, entry in numbered for text in _problems(entry)]:
        raise SetupError(f"Correct {path}: {'; '.join(problems)}.")
    tokens = [_read_entry(entry) for entry in entries]
    if len({token.digest for token in tokens}) < len(tokens):
        raise SetupError(f"{path} has two entries with the same sha256; remove one of them.")
    return tokens


def _problems(entry: Any) -> Iterator[str]:
    """The problems of an entry. Values are never shown: one may be a token pasted in the wrong place."""
    if not isinstance(entry, dict):
        yield "it must be a table with sha256, tenant and access"
        return
    for unknown in sorted(entry.keys() - _FIELDS):
        yield f"{unknown!r} is unknown; known are {', '.join(sorted(_FIELDS))}"
    if not _matches(_SHA256_HEX, entry.get("sha256")):
        yield "sha256 must be the 64 hexadecimal digits of the token's SHA-256"
    if not _matches(_TENANT, entry.get("tenant")):
        yield "tenant must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -"
    if entry.get("access") not in tuple(Access):
        yield 'access must be "read" or "write"'
    name = entry.get("name", "")
    if not isinstance(name, str) or len(name) > _NAME_LENGTH or not name.isprintable():
        yield f"name must be at most {_NAME_LENGTH} printable characters"
    expires = entry.get("expires", _EPOCH)
    if not isinstance(expires, datetime) or expires.tzinfo is None:
        yield "expires must be a time with its offset, such as 2027-01-31T09:00:00Z, without quotes"


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _read_entry(entry: dict[str, Any]) -> _Token:
    digest = bytes.fromhex(entry["sha256"])
    expires: datetime | None = entry.get("expires")
    caller = Caller(
        tenant=entry["tenant"],
        access=Access(entry["access"]),
        subject=entry.get("name") or f"token-{digest.hex()[:12]}",
        credential=digest.hex()[:12],
        expires_at=None if expires is None else Micros((expires - _EPOCH) // timedelta(microseconds=1)),
    )
    return _Token(digest, caller)


def _presented_digest(authorization: Sequence[bytes | str]) -> bytes | None:
    """The hash of the single bearer token that was sent; None for anything else."""
    if len(authorization) != 1:
        return None
    value = authorization[0]
    # Non-ASCII characters become one that no token contains.
    header = value.encode("ascii", "replace") if isinstance(value, str) else value
    match = _BEARER.fullmatch(header)
    return None if match is None else sha256(match[1]).digest()


def _toml(value: str | datetime) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    # A JSON string of printable characters is also a valid TOML string.
    return json.dumps(value, ensure_ascii=False)
