"""Addresses, TLS and metadata in the constructor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from sessions_client import TLS, AsyncClient, Client, InvalidArgument
from sessions_client._options import call_metadata, target_of
from tests.support.certificates import Authority

AUTHORITY = Authority()
PAIR = AUTHORITY.issue()
PEM, KEY = PAIR.certificate, PAIR.key
ENCRYPTED = serialization.load_pem_private_key(KEY, None).private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.BestAvailableEncryption(b"secret"),
)


def options(target: Any, tls: Any = False) -> dict[str, Any]:
    return dict(target_of(target, tls).options)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        (["sessions:50051"], "sessions:50051"),
        (["10.0.0.1:1", "10.0.0.2:2"], "ipv4:10.0.0.1:1,10.0.0.2:2"),
        (["[::1]:1", "10.0.0.2:2"], "ipv6:[::1]:1,[::ffff:10.0.0.2]:2"),
        (["127.0.0.1:1", "localhost:2"], "ipv4:127.0.0.1:1,127.0.0.1:2"),
        (("127.0.0.1:1",), "127.0.0.1:1"),
        ("[::1]:50051", "[::1]:50051"),
        ("dns:///sessions", "dns:///sessions"),
        ("unix:/run/sessions.sock", "unix:/run/sessions.sock"),
    ],
)
def test_one_address_is_used_as_it_is_and_several_become_a_list(given: Any, address: str) -> None:
    assert target_of(given, False).address == address


@pytest.mark.parametrize(
    ("given", "spread"),
    [("127.0.0.1:1", False), (["10.0.0.1:1", "10.0.0.2:1"], True), ("dns:///sessions:50051", True)],
)
def test_calls_go_round_robin_where_there_may_be_several_servers(given: Any, spread: bool) -> None:
    assert ("round_robin" in options(given).get("grpc.service_config", "")) is spread


@pytest.mark.parametrize(
    "given",
    [
        "",
        [],
        [""],
        ["10.0.0.1:1", "no-port"],
        ["10.0.0.1:1", "nowhere.invalid:1"],
        ["10.0.0.1:1", "unix:/run/sessions.sock"],
        5,
        None,
        b"10.0.0.1:1",
        {"10.0.0.1:1": 1},
        ["10.0.0.1:1", 5],
        "localhost",
        "10.0.0.1",
        "localhost:",
        ":50051",
        "localhost:http",
        "localhost:0",
        "localhost:99999",
        "::1:50051",
        "10.0.0.1:1,10.0.0.2:1",
        "user@localhost:1",
        "http://localhost:50051",
        "https://localhost:50051/",
        "grpc://localhost:50051",
    ],
)
def test_an_invalid_address_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgument, match="target"):
        target_of(given, False)


def test_a_web_address_is_refused_with_the_right_form() -> None:
    with pytest.raises(InvalidArgument, match=r"write host and port alone.* `tls=True`"):
        target_of("https://localhost:50051", False)


@pytest.mark.parametrize(
    "tls",
    [
        True,
        TLS(),
        "ca.pem",
        Path("ca.pem"),
        PEM,
        PEM.decode(),
        TLS(ca=PEM, server_name="sessions"),
        TLS(cert=PEM, key=KEY.decode()),
    ],
    ids=["yes", "nothing said", "path", "Path", "bytes", "text", "CA and name", "pair"],
)
def test_tls_accepts_true_a_ca_or_a_tls(tls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_bytes(PEM)
    assert target_of("localhost:1", tls).tls is not None


@pytest.mark.parametrize(
    "tls",
    [
        None,
        5,
        b"garbage",
        b"",
        "nowhere.pem",
        "a\0b",
        ".",
        KEY,
        TLS(ca=b"garbage"),
        TLS(cert=PEM, key=PEM),
        TLS(cert=KEY, key=KEY),
        TLS(cert=PEM, key=Authority().issue().key),
        TLS(cert=PEM, key=ENCRYPTED),
        TLS(ca=PEM[:200] + b"\n-----END CERTIFICATE-----\n"),
        TLS(cert=PEM[:200] + b"\n-----END CERTIFICATE-----\n", key=KEY),
        TLS(ca=5),  # type: ignore[arg-type]  # that is the test
        TLS(server_name=5),  # type: ignore[arg-type]  # that is the test
    ],
    ids=itertools.count(),
)
def test_invalid_tls_is_refused(tls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgument, match="tls"):
        target_of("localhost:1", tls)


@pytest.mark.parametrize(
    ("addresses", "name"),
    [
        (["localhost:1", "localhost:2"], "localhost"),
        (["127.0.0.1:1", "127.0.0.1:2"], "127.0.0.1"),
        (["[::1]:1", "[::1]:2"], "::1"),
    ],
)
def test_the_servers_of_a_list_are_verified_by_their_common_host(addresses: list[str], name: str) -> None:
    assert options(addresses, True)["grpc.ssl_target_name_override"] == name
    assert options(addresses, TLS(server_name="x"))["grpc.ssl_target_name_override"] == "x"
    assert "grpc.ssl_target_name_override" not in options(addresses)


def test_the_servers_of_a_list_without_a_name_in_common_need_one() -> None:
    with pytest.raises(InvalidArgument, match=r"TLS\(server_name=…\).*dns:///"):
        target_of(["localhost:1", "127.0.0.1:2"], True)
    assert target_of(["localhost:1", "127.0.0.1:2"], TLS(server_name="sessions")).tls is not None


def test_the_name_in_the_certificate_may_differ_from_the_address() -> None:
    assert options("localhost:1", TLS(server_name="sessions"))["grpc.ssl_target_name_override"] == "sessions"


def test_a_client_certificate_needs_its_key() -> None:
    with pytest.raises(InvalidArgument, match="belong together"):
        target_of("localhost:1", TLS(cert=b"cert"))


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(TLS(cert=b"cert", key=b"secret"))


def test_a_metadata_function_is_called_for_each_call() -> None:
    traces: Iterator[Any] = iter([{"traceparent": "one"}, [("traceparent", "two")], {"Traceparent": "three"}])
    metadata = call_metadata("t0k3n", lambda: next(traces))
    assert metadata() == (("traceparent", "one"), ("authorization", "Bearer t0k3n"))
    assert metadata()[0] == ("traceparent", "two")
    with pytest.raises(InvalidArgument, match="lower case"):
        metadata()
    with pytest.raises(InvalidArgument, match="one of the two"):
        call_metadata("t0k3n", lambda: {"authorization": "Bearer other"})()


def test_a_token_becomes_a_bearer_credential_in_addition_to_the_metadata() -> None:
    pairs = call_metadata("t0k3n", {"x-team": "a"})()
    assert pairs == (("x-team", "a"), ("authorization", "Bearer t0k3n"))


def test_a_token_source_is_called_each_time() -> None:
    tokens = iter(["one", "two"])
    metadata = call_metadata(lambda: next(tokens), None)
    assert [metadata()[0][1], metadata()[0][1]] == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize(
    ("token", "metadata"),
    [
        ("t", {"authorization": "Basic x"}),
        (None, {"X-Team": "a"}),
        (None, {"x-team": "ü"}),
        (None, {"x-team": "a\nb"}),
        (None, {"x-team": b"a"}),
        (None, {"x-team-bin": "a"}),
        (None, {"x-team": 1}),
        (None, {"x-team": None}),
        (None, {"bad key": "a"}),
        (None, {"": "a"}),
        (None, {"ü": "a"}),
        (None, {1: "a"}),
        (None, {"grpc-timeout": "1S"}),
        (None, [("a", "b", "c")]),
        (None, ["ab"]),
        (None, "abc"),
        (None, 5),
    ],
)
def test_metadata_that_grpc_could_not_send_is_refused(token: str | None, metadata: Any) -> None:
    with pytest.raises(InvalidArgument, match="metadata"):
        call_metadata(token, metadata)


@pytest.mark.parametrize("token", ["", "se\ncret", "sécret"])
def test_a_token_that_grpc_could_not_send_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        call_metadata(token, None)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("token", [5, b"t0k3n", ["t0k3n"]])
def test_a_token_of_the_wrong_type_is_refused(token: Any) -> None:
    with pytest.raises(InvalidArgument, match="token: must be a string, or a function"):
        call_metadata(token, None)


async def _asynchronous_token() -> str:
    return "t0k3n"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (lambda: None, "not NoneType"),
        (lambda: b"t0k3n", "not bytes"),
        (_asynchronous_token, "must be a plain function"),
    ],
)
def test_a_token_source_that_returns_no_token_fails_the_call(source: Any, sentence: str) -> None:
    metadata = call_metadata(source, None)
    with pytest.raises(InvalidArgument, match=sentence):
        metadata()


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_the_constructor_refuses_invalid_options(client: Any) -> None:
    with pytest.raises(InvalidArgument, match="timeout"):
        client("localhost:1", timeout=-1)
    with pytest.raises(InvalidArgument, match="target"):
        client("")
    with pytest.raises(InvalidArgument, match=r"tls: is for servers; leave it out for a database file"):
        client(":memory:", tls=True)
    with pytest.raises(
        InvalidArgument, match=r"cannot begin with `sqlite://`.* For a database file, write its path"
    ):
        client("sqlite:///chat.db")


@pytest.mark.parametrize(
    ("target", "proxy", "uses_proxy"),
    [
        ("sessions.example:50051", None, True),
        ("dns:///sessions.example:50051", None, True),
        ("sessions.example:50051", False, False),
        ("127.0.0.1:50051", None, False),
        ("localhost:50051", None, False),
        ("[::1]:50051", None, False),
        ("dns:localhost:50051", None, False),
        ("unix:/run/sessions.sock", None, False),
        (["10.0.0.1:1", "10.0.0.2:1"], None, False),
        (["10.0.0.1:1", "10.0.0.2:1"], True, True),
        ("127.0.0.1:50051", True, True),
    ],
)
def test_a_proxy_from_the_environment_is_used_where_it_makes_sense(
    target: Any, proxy: bool | None, uses_proxy: bool
) -> None:
    made = target_of(target, False, proxy=proxy)
    assert made.uses_proxy is uses_proxy
    assert dict(made.options).get("grpc.enable_http_proxy") == (None if uses_proxy else 0)


def test_proxy_is_true_or_false() -> None:
    with pytest.raises(InvalidArgument, match=r"proxy: must be True, False or None\."):
        target_of("localhost:1", False, proxy="http://proxy")  # type: ignore[arg-type]  # that is the test
