"""Metrics, as scraped by Prometheus."""

from __future__ import annotations

from urllib.request import urlopen

import psutil
import pytest

from sessions_server.domain.errors import SetupError
from sessions_server.rpc.prometheus import PrometheusMetrics, serve_metrics


def scraped(metrics: PrometheusMetrics) -> str:
    """What Prometheus gets."""
    with (
        serve_metrics("127.0.0.1:0", metrics.registry) as address,
        urlopen(f"http://{address}/metrics") as response,
    ):
        text: bytes = response.read()
        return text.decode()


def test_counted_values_can_be_scraped() -> None:
    metrics = PrometheusMetrics()
    metrics.handled("GetSession", "OK")
    metrics.took("GetSession", 0.003)
    text = scraped(metrics)
    assert 'sessions_rpc_handled_total{code="OK",method="GetSession"} 1.0' in text
    assert 'sessions_rpc_seconds_bucket{le="0.005",method="GetSession"} 1.0' in text


def test_current_searches_can_be_scraped() -> None:
    metrics = PrometheusMetrics()
    metrics.show_searches(running=lambda: 2, waiting=lambda: 7)
    text = scraped(metrics)
    assert "sessions_searches_running 2.0" in text
    assert "sessions_searches_waiting 7.0" in text


def test_without_an_address_nothing_listens() -> None:
    before = listening()
    with serve_metrics("", PrometheusMetrics().registry) as address:
        assert (address, listening()) == ("", before)
    with serve_metrics("127.0.0.1:0", PrometheusMetrics().registry):
        assert listening() == before + 1


def listening() -> int:
    """How many ports this process listens at."""
    found = psutil.Process().net_connections("tcp")
    return sum(each.status == psutil.CONN_LISTEN for each in found)


@pytest.mark.parametrize("address", ["127.0.0.1:not-a-port", "127.0.0.1:99999999", "256.0.0.1:1"])
def test_an_unusable_address_is_refused_with_a_sentence(address: str) -> None:
    with (
        pytest.raises(SetupError, match="give a free address and port"),
        serve_metrics(address, PrometheusMetrics().registry),
    ):
        pass


def test_a_port_in_use_is_refused_with_a_sentence() -> None:
    with (
        serve_metrics("127.0.0.1:0", PrometheusMetrics().registry) as address,
        pytest.raises(SetupError),
        serve_metrics(address, PrometheusMetrics().registry),
    ):
        pass
