"""Metrics, as scraped by Prometheus."""

from __future__ import annotations

import socket
from urllib.request import urlopen

import pytest

from sessions_server.domain.errors import SetupError
from sessions_server.rpc.prometheus import PrometheusMetrics, serve_metrics


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_counted_values_can_be_scraped() -> None:
    metrics, address = PrometheusMetrics(), free_address()
    metrics.handled("GetSession", "OK")
    metrics.took("GetSession", 0.003)
    with serve_metrics(address, metrics.registry), urlopen(f"http://{address}/metrics") as response:
        text = response.read().decode()
    assert 'sessions_rpc_handled_total{code="OK",method="GetSession"} 1.0' in text
    assert 'sessions_rpc_seconds_bucket{le="0.005",method="GetSession"} 1.0' in text


def test_current_searches_can_be_scraped() -> None:
    metrics, address = PrometheusMetrics(), free_address()
    metrics.show_searches(running=lambda: 2, waiting=lambda: 7)
    with serve_metrics(address, metrics.registry), urlopen(f"http://{address}/metrics") as response:
        text = response.read().decode()
    assert "sessions_searches_running 2.0" in text
    assert "sessions_searches_waiting 7.0" in text


def test_without_an_address_nothing_listens() -> None:
    with serve_metrics("", PrometheusMetrics().registry):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:not-a-port", "127.0.0.1:99999999", "256.0.0.1:1"])
def test_an_unusable_address_is_refused_with_a_sentence(address: str) -> None:
    with (
        pytest.raises(SetupError, match="give a free address and port"),
        serve_metrics(address, PrometheusMetrics().registry),
    ):
        pass


def test_a_port_in_use_is_refused_with_a_sentence() -> None:
    address = free_address()
    with (
        serve_metrics(address, PrometheusMetrics().registry),
        pytest.raises(SetupError),
        serve_metrics(address, PrometheusMetrics().registry),
    ):
        pass
