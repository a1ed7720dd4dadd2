"""The metrics of a running server, and their use in docs/reference/metrics.md and examples/monitoring."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest
import yaml

from sessions_client import Client
from tests.meta.tree import ROOT, text_of
from tests.support.debian import find_program
from tests.support.ports import HOST, free_port
from tests.support.server import start_server

MONITORING: Final = ROOT / "examples" / "monitoring"
OF_PROMETHEUS: Final = {"up"}
"""Metrics that Prometheus itself adds to a scrape."""

SERIES: Final = re.compile(r"\b(?:sessions|process)_[a-z_]+|\bup\b")


@pytest.fixture(scope="module")
def scrape(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The scrape of a server that has received calls."""
    listen = f"{HOST}:{free_port()}"
    folder = tmp_path_factory.mktemp("server")
    with (
        start_server(folder, env={"SESSIONS_METRICS_LISTEN": listen}) as server,
        Client(server.address) as client,
    ):
        session = client.sessions.create("u1")
        with client.sessions.subscribe(session.id), urlopen(f"http://{listen}/metrics") as response:
            yield response.read().decode()


@pytest.fixture(scope="module")
def promtool() -> list[str]:
    program, variables = find_program("promtool", packages=("prometheus",))
    return ["env", *(f"{name}={value}" for name, value in variables.items()), program]


def families(scrape: str) -> dict[str, str]:
    """The metric types in a scrape, by name."""
    found = re.findall(r"^# TYPE (\S+) (\S+)$", scrape, re.MULTILINE)
    return {name: kind for name, kind in found if not name.endswith("_created")}


def series(scrape: str) -> set[str]:
    """The names that queries can use."""
    return {re.split(r"[{ ]", line)[0] for line in scrape.splitlines() if not line.startswith("#")}


def expressions() -> list[str]:
    """Every query of the dashboard and the rules, with Grafana's variables replaced."""
    board = json.loads((MONITORING / "dashboard.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked = [each.replace("$__rate_interval", "5m").replace("$instance", ".*") for each in asked]
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return asked + [rule["expr"] for group in groups for rule in group["rules"]]


def run(command: list[str], *, given: str = "", folder: Path = MONITORING) -> None:
    done = subprocess.run(command, input=given, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_lists_every_metric_with_its_kind(scrape: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", text_of(Path("docs/reference/metrics.md")), re.MULTILINE)
    assert dict(rows) == families(scrape)


def test_the_dashboard_and_the_rules_use_existing_metrics(scrape: str) -> None:
    known = series(scrape) | OF_PROMETHEUS
    asked = {name for each in expressions() for name in SERIES.findall(each)}
    assert len(asked) >= 8
    assert asked - known == set()


def test_the_metrics_show_what_a_server_did(scrape: str) -> None:
    for line in (
        'sessions_rpc_handled_total{code="OK",method="CreateSession"} 1.0',
        'sessions_rpc_open_streams{method="Subscribe"} 1.0',
        "sessions_serving 1.0",
        "sessions_transaction_seconds_count 1.0",
        "sessions_transaction_commits_sum 1.0",
    ):
        assert line in scrape.splitlines()


def test_prometheus_accepts_the_metrics_the_rules_and_every_query(
    scrape: str, promtool: list[str], tmp_path: Path
) -> None:
    run([*promtool, "check", "metrics"], given=scrape)
    run([*promtool, "check", "rules", "alerts.yaml"])
    records: list[dict[str, Any]] = [
        {"record": f"query:{number}", "expr": expr} for number, expr in enumerate(expressions())
    ]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": records}]}))
    run([*promtool, "check", "rules", "queries.yaml"], folder=tmp_path)


def test_each_rule_fires_for_its_fault_and_for_nothing_else(promtool: list[str]) -> None:
    run([*promtool, "test", "rules", "alerts-test.yaml"])
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
    tested = yaml.safe_load((MONITORING / "alerts-test.yaml").read_text())["tests"]
    assert [each["alertname"] for each in tested[0]["alert_rule_test"]] == [rule["alert"] for rule in rules]
    assert tested[1]["promql_expr_test"][0]["exp_samples"][0]["value"] == len(rules)
