"""Bearer tokens: the same error for every invalid credential, and a file that is read securely."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from sessions_server.domain.errors import PermissionDenied, Reason, SetupError, Unauthenticated
from sessions_server.domain.models import Micros
from sessions_server.domain.ports import Access, Caller
from sessions_server.security.files import WatchedFile
from sessions_server.security.tokens import (
    Anonymous,
    TokenAuthenticator,
    TokenTable,
    load_tokens,
    new_token,
    open_authenticator,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sessions_server.domain.ports import Authenticator

NOW = Micros(1_800_000_000_000_000)
ENDS = datetime(2027, 1, 31, 9, 0, 0, 250_000, tzinfo=UTC)
WRITER, READER, ENDING = "sess_writer", "sess_reader-._~+/==", "sess_ending"


def digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def entry(token: str = WRITER, *, tenant: str = "acme", access: str = "write", more: str = "") -> str:
    return f'[[tokens]]\nsha256 = "{digest(token)}"\ntenant = "{tenant}"\naccess = "{access}"\n{more}\n'


TOKENS = (
    "# Acme's own\n"
    + entry(more='name = "web backend"')
    + entry(READER, access="read")
    + entry(ENDING, tenant="globex", more="expires = 2027-01-31T10:00:00.250+01:00")
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(TOKENS)
    path.chmod(0o600)
    return path


@pytest.fixture
def authenticator(path: Path) -> Authenticator:
    return open_authenticator(path)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(SetupError) as caught:
        load_tokens(path)
    return str(caught.value)


def test_a_token_gives_its_callers_tenant_access_and_name(authenticator: Authenticator) -> None:
    caller = authenticator.authenticate([f"Bearer {WRITER}"], now=NOW)

    assert caller == Caller(
        tenant="acme",
        access=Access.WRITE,
        subject="web backend",
        credential=digest(WRITER)[:12],
        expires_at=None,
    )


def test_a_caller_without_a_name_is_named_by_the_start_of_its_hash(authenticator: Authenticator) -> None:
    caller = authenticator.authenticate([f"Bearer {READER}"], now=NOW)

    assert caller.subject == f"token-{digest(READER)[:12]}"


@pytest.mark.parametrize(
    "header", [f"bearer {WRITER}", f"BEARER {WRITER}", f"Bearer   {WRITER}", f"Bearer {WRITER}".encode()]
)
def test_the_scheme_is_read_in_any_case_and_the_header_as_text_or_bytes(
    authenticator: Authenticator, header: str | bytes
) -> None:
    assert authenticator.authenticate([header], now=NOW).tenant == "acme"


ENDS_AT = Micros((ENDS - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))

REFUSED: dict[str, list[str | bytes]] = {
    "none": [],
    "empty": [""],
    "the scheme alone": ["Bearer"],
    "an empty token": ["Bearer "],
    "no scheme": [WRITER],
    "the wrong scheme": [f"Basic {WRITER}"],
    "a scheme that only looks alike": [f"Be\N{LATIN SMALL LETTER A WITH GRAVE}rer {WRITER}"],
    "unknown": ["Bearer sess_nobody"],
    "the hash itself": [f"Bearer {digest(WRITER)}"],
    "the start of a token": [f"Bearer {WRITER[:-1]}"],
    "expired": [f"Bearer {ENDING}"],
    "not ASCII": [f"Bearer {WRITER}é"],
    "not ASCII, as bytes": [f"Bearer {WRITER}".encode() + b"\xff"],
    "a lone surrogate": [f"Bearer {WRITER}\udcff"],
    "a line break": [f"Bearer {WRITER}\n"],
    "a tab for a space": [f"Bearer\t{WRITER}"],
    "U+0000": [f"Bearer {WRITER}\0"],
    "two in one header": [f"Bearer {WRITER}, Bearer {WRITER}"],
    "two headers": [f"Bearer {WRITER}", f"Bearer {WRITER}"],
    "a valid and an empty header": [f"Bearer {WRITER}", ""],
    "a megabyte": ["Bearer " + "a" * 2**20],
}


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("needed", Access)
def test_every_invalid_credential_gets_the_same_error(
    authenticator: Authenticator, headers: list[str | bytes], needed: Access
) -> None:
    with pytest.raises(Unauthenticated) as usual:
        authenticator.authenticate([], now=ENDS_AT)
    with pytest.raises(Unauthenticated) as caught:
        authenticator.authenticate(headers, now=ENDS_AT, needed=needed)

    assert caught.value.reason is Reason.UNAUTHENTICATED
    assert (str(caught.value), caught.value.metadata) == (str(usual.value), usual.value.metadata)


@given(headers=st.lists(st.text(max_size=30) | st.binary(max_size=30), max_size=3))
def test_no_header_breaks_the_check(headers: list[str | bytes]) -> None:
    nobody = TokenAuthenticator(lambda: TokenTable([]))

    with pytest.raises(Unauthenticated):
        nobody.authenticate(headers, now=NOW)


def test_a_token_is_valid_until_the_exact_time_of_its_expiry(authenticator: Authenticator) -> None:
    before = Micros(ENDS_AT - 1)

    caller = authenticator.authenticate([f"Bearer {ENDING}"], now=before)

    assert (caller.tenant, caller.expires_at) == ("globex", ENDS_AT)
    with pytest.raises(Unauthenticated):
        authenticator.authenticate([f"Bearer {ENDING}"], now=ENDS_AT)


def test_a_read_only_token_may_read_and_not_write(authenticator: Authenticator) -> None:
    headers = [f"Bearer {READER}"]

    assert authenticator.authenticate(headers, now=NOW, needed=Access.READ).access is Access.READ
    with pytest.raises(PermissionDenied, match="write access") as caught:
        authenticator.authenticate(headers, now=NOW, needed=Access.WRITE)
    assert caught.value.reason is Reason.PERMISSION_DENIED


@pytest.mark.parametrize("headers", [[], ["Bearer anything"], ["é", b"\xff"]])
def test_without_tokens_everyone_is_the_default_tenant_and_may_write(headers: list[str | bytes]) -> None:
    caller = open_authenticator(None).authenticate(headers, now=NOW, needed=Access.WRITE)

    assert caller == Caller(tenant="default", access=Access.WRITE, subject="", expires_at=None)
    assert isinstance(open_authenticator(None), Anonymous)


def test_a_revoked_token_and_a_new_one_take_effect_in_a_running_server(path: Path) -> None:
    seconds = 0.0
    authenticator = TokenAuthenticator(WatchedFile(path, load=load_tokens, monotonic=lambda: seconds).value)
    write(path, entry("sess_fresh", tenant="initech"))

    assert authenticator.authenticate([f"Bearer {WRITER}"], now=NOW).tenant == "acme"
    seconds = 1.0
    with pytest.raises(Unauthenticated):
        authenticator.authenticate([f"Bearer {WRITER}"], now=NOW)
    assert authenticator.authenticate(["Bearer sess_fresh"], now=NOW).tenant == "initech"


def test_an_empty_file_revokes_every_token(path: Path) -> None:
    seconds = 0.0
    authenticator = TokenAuthenticator(WatchedFile(path, load=load_tokens, monotonic=lambda: seconds).value)
    write(path, "")
    seconds = 1.0

    with pytest.raises(Unauthenticated):
        authenticator.authenticate([f"Bearer {WRITER}"], now=NOW)


def test_a_server_with_an_unusable_tokens_file_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="sessions-server token new"):
        open_authenticator(tmp_path / "missing.toml")


def test_tokens_with_similar_hashes_are_distinguished(path: Path) -> None:
    alike = digest(WRITER)[:32] + "0" * 32
    write(path, entry(tenant="wrong").replace(digest(WRITER), alike) + entry(tenant="right"))

    assert open_authenticator(path).authenticate([f"Bearer {WRITER}"], now=NOW).tenant == "right"


def test_a_hash_may_be_written_in_capitals(path: Path) -> None:
    write(path, entry().replace(digest(WRITER), digest(WRITER).upper()))

    assert open_authenticator(path).authenticate([f"Bearer {WRITER}"], now=NOW).tenant == "acme"


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_bytes(b"\xef\xbb\xbf" + entry().encode())
    path.chmod(0o600)
    assert open_authenticator(path).authenticate([f"Bearer {WRITER}"], now=NOW).tenant == "acme"


MALFORMED: dict[str, tuple[str | bytes, str]] = {
    "not TOML": ("tokens: []", "is not a TOML file"),
    "not UTF-8": (b"# \xff", "is not a TOML file"),
    "nested without end": ("tokens = " + "[" * 100_000, "is not a TOML file"),
    "another table": ("[token]\n", "nothing but [[tokens]] entries"),
    "one table for many": ("[tokens]\n", "nothing but [[tokens]] entries"),
    "entries that are no tables": ("tokens = [1]", "entry 1: it must be a table"),
    "no hash": ('[[tokens]]\ntenant = "acme"\naccess = "read"', "entry 1: sha256 must be"),
    "a token for its hash": (entry().replace(digest(WRITER), WRITER), "entry 1: sha256 must be"),
    "no tenant": (entry(tenant=""), "entry 1: tenant must be"),
    "a tenant with a space": (entry(tenant="a b"), "entry 1: tenant must be"),
    "a long tenant": (entry(tenant="a" * 129), "entry 1: tenant must be"),
    "unknown access": (entry(access="admin"), 'entry 1: access must be "read" or "write"'),
    "a misspelt field": (entry(more="expire = 2027-01-31T09:00:00Z"), "entry 1: 'expire' is unknown"),
    "a name with escape codes": (entry(more=r'name = "\u001b[31m"'), "entry 1: name must be"),
    "a name that is a number": (entry(more="name = 7"), "entry 1: name must be"),
    "an end in quotes": (entry(more='expires = "2027-01-31T09:00:00Z"'), "entry 1: expires must be"),
    "an end without offset": (entry(more="expires = 2027-01-31T09:00:00"), "entry 1: expires must be"),
    "an end without time": (entry(more="expires = 2027-01-31"), "entry 1: expires must be"),
    "a hash twice": (entry() + entry(tenant="other"), "two entries with the same sha256"),
}


@pytest.mark.parametrize(("content", "problem"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_refused_with_a_sentence_that_shows_no_token(
    path: Path, content: str | bytes, problem: str
) -> None:
    shown = refusal(write(path, content))

    assert problem in shown
    assert str(path) in shown
    assert WRITER not in shown


def test_every_problem_of_a_file_is_reported_at_once(path: Path) -> None:
    shown = refusal(write(path, entry(access="all") + entry(READER, tenant="")))

    assert "entry 1: access" in shown
    assert "entry 2: tenant" in shown


def test_a_file_readable_by_others_is_used_since_it_has_no_token(path: Path) -> None:
    path.chmod(0o644)

    assert open_authenticator(path).authenticate([f"Bearer {WRITER}"], now=NOW).tenant == "acme"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_change_is_refused_with_the_fix(path: Path, mode: int) -> None:
    path.chmod(mode)

    assert f"`chmod go-w {path}`" in refusal(path)


@given(
    tenant=st.from_regex(r"[A-Za-z0-9._~:@-]{1,128}", fullmatch=True),
    access=st.sampled_from(Access),
    name=st.text(max_size=128).filter(str.isprintable),
    expires=st.none() | st.datetimes(timezones=st.just(UTC)),
)
def test_a_new_token_is_accepted_by_its_entry(
    tmp_path_factory: pytest.TempPathFactory,
    tenant: str,
    access: Access,
    name: str,
    expires: datetime | None,
) -> None:
    made = new_token(tenant=tenant, access=access, name=name, expires=expires)
    path = write(tmp_path_factory.getbasetemp() / "made.toml", TOKENS + made.entry)

    caller = open_authenticator(path).authenticate([f"Bearer {made.token}"], now=Micros(-(10**17)))

    micros = (
        None if expires is None else (expires - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    )
    assert (caller.tenant, caller.access, caller.expires_at) == (tenant, access, micros)
    assert caller.subject == name or not name
    assert made.token not in made.entry


def test_new_tokens_are_different() -> None:
    assert len({new_token(tenant="acme", access=Access.READ).token for _ in range(100)}) == 100


def test_a_token_that_its_file_would_refuse_is_not_created() -> None:
    with pytest.raises(SetupError, match="No token was made: tenant must be") as caught:
        new_token(tenant="a b", access=Access.READ, name="\n", expires=ENDS.replace(tzinfo=None))

    assert "name must be" in str(caught.value)
    assert "expires must be" in str(caught.value)
