"""Addresses, TLS and metadata as the constructor takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sessions_client import TLS, AsyncClient, Client, InvalidArgument
from sessions_client._options import call_metadata, target_of


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
    ],
)
def test_one_address_is_taken_as_it_is_and_several_become_a_list(given: Any, address: str) -> None:
    assert target_of(given, False).address == address


@pytest.mark.parametrize(
    ("given", "spread"),
    [("127.0.0.1:1", False), (["10.0.0.1:1", "10.0.0.2:1"], True), ("dns:///sessions:50051", True)],
)
def test_calls_go_round_robin_where_there_may_be_several_servers(given: Any, spread: bool) -> None:
    assert ("round_robin" in options(given).get("grpc.service_config", "")) is spread


@pytest.mark.parametrize(
    "given", ["", [], [""], ["10.0.0.1:1", "no-port"], ["10.0.0.1:1", "nowhere.invalid:1"]]
)
def test_an_address_that_leads_nowhere_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgument, match="target"):
        target_of(given, False)


@pytest.mark.parametrize("tls", [True, TLS(), "ca.pem", b"ca", TLS(ca=b"ca", server_name="sessions")])
def test_tls_takes_yes_a_ca_or_all_of_it(tls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_bytes(b"ca")
    assert target_of("localhost:1", tls).credentials is not None


def test_the_name_in_the_certificate_may_differ_from_the_address() -> None:
    assert options("localhost:1", TLS(server_name="sessions"))["grpc.ssl_target_name_override"] == "sessions"


def test_a_client_certificate_needs_its_key() -> None:
    with pytest.raises(InvalidArgument, match="belong together"):
        target_of("localhost:1", TLS(cert=b"cert"))


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(TLS(cert=b"cert", key=b"secret"))


def test_a_token_becomes_a_bearer_credential_beside_the_metadata() -> None:
    pairs = call_metadata("t0k3n", {"x-team": "a"})()
    assert pairs == (("x-team", "a"), ("authorization", "Bearer t0k3n"))


def test_a_token_source_is_asked_each_time() -> None:
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


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_a_constructor_refuses_what_cannot_be_right(client: Any) -> None:
    with pytest.raises(InvalidArgument, match="timeout"):
        client("localhost:1", timeout=-1)
    with pytest.raises(InvalidArgument, match="target"):
        client("")
