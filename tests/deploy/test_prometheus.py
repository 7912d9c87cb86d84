"""The alert rules and the dashboard in ``deploy/``, with Debian's Prometheus: it scrapes a service and evaluates them.

A picture of the dashboard would need Grafana, which Debian does not have. Its queries are run instead.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentidp.clock import utc_now
from agentidp.services import Services
from tests.conftest import settings_for
from tests.deploy.deployment import DEPLOY
from tests.factories import (
    PATIENCE,
    free_port,
    make_agent,
    make_alert_target,
    make_finding,
    make_organization,
    wait_until,
)
from tests.server.scrape import MeteredServer

RULES = DEPLOY / "prometheus" / "agentidp.rules.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "agentidp.json").read_text())
NAME = re.compile(r"\bagentidp_[a-z_]+")

WITHOUT_A_FAULT = {"agentidp_database_errors_total", "agentidp_alerts_oldest_waiting_timestamp_seconds"}
"""Metrics that a service does not export while nothing is wrong."""


def program(name: str) -> str:
    """The path of a program of Debian's package."""
    found = shutil.which(name)
    assert found, f"{name} must be installed: apt-get install prometheus"
    return found


def queries() -> Iterator[tuple[str, str]]:
    """The queries of the dashboard, each with the title of its panel, as Grafana sends them."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$job", "agentidp").replace("$__rate_interval", "1m")


def test_the_rules_are_right() -> None:
    subprocess.run([program("promtool"), "check", "rules", "--lint-fatal", str(RULES)], check=True)


def test_each_alert_fires_in_its_situation_and_none_while_all_is_well(tmp_path: Path) -> None:
    tests = (Path(__file__).parent / "agentidp.rules.test.yml").read_text()
    (tmp_path / "tests.yml").write_text(tests.replace("RULES", str(RULES)))
    ran = subprocess.run([program("promtool"), "test", "rules", str(tmp_path / "tests.yml")], capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()
    for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]:
        assert rule["alert"] in tests, f"no situation in which {rule['alert']} fires"


@dataclass
class Prometheus:
    """Debian's, with the shipped configuration; only the port and the times differ."""

    port: int

    def get(self, path: str, **query: str) -> Any:
        """The data of a response of its API."""
        address = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=PATIENCE) as response:
            return json.loads(response.read())["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression results in now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found


@contextlib.contextmanager
def prometheus(directory: Path, target: str) -> Iterator[Prometheus]:
    """Prometheus in *directory*; it scrapes *target* each second."""
    configuration = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    for old, new in {"127.0.0.1:9464": target, ": 15s": ": 1s", "agentidp.rules.yml": str(RULES)}.items():
        assert old in configuration
        configuration = configuration.replace(old, new)
    (directory / "prometheus.yml").write_text(configuration)
    port = free_port()
    process = subprocess.Popen(
        [
            program("prometheus"),
            f"--config.file={directory}/prometheus.yml",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
    )
    try:
        running = Prometheus(port)

        def scrapes() -> bool:
            assert process.poll() is None
            with contextlib.suppress(OSError):
                return bool(running.query('up{job="agentidp"} == 1'))
            return False

        wait_until(scrapes)
        yield running
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture
def metered(database_url: str) -> Iterator[MeteredServer]:
    """A service that has issued, refused and rejected something."""
    services = Services.of(settings_for(database_url), utc_now)
    agent = make_agent(services, make_organization(services))
    make_finding(services, agent.organization_id)
    make_alert_target(services, agent.organization_id)
    services.close()
    with MeteredServer(database_url) as running:
        for secret, scope in ((agent.client_secret, "agents:read"), (agent.client_secret, "none"), ("wrong", "")):
            basic = base64.b64encode(f"{agent.client_id}:{secret}".encode()).decode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{running.port}/api/v1/token",
                data=f"grant_type=client_credentials&scope={scope}".encode(),
                headers={"Authorization": f"Basic {basic}"},
            )
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(request, timeout=PATIENCE)
        wait_until(lambda: running.value("agentidp_database_pool_connections") >= 1)
        # Read after the requests.
        wait_until(lambda: running.value("agentidp_organization_tokens_today") >= 1)
        yield running


def test_prometheus_scrapes_the_service_evaluates_the_rules_and_runs_the_queries_of_the_dashboard(
    metered: MeteredServer, tmp_path: Path
) -> None:
    with prometheus(tmp_path, metered.metrics_address) as running:
        [group] = running.get("rules")["groups"]
        wait_until(lambda: all(rule["health"] == "ok" for rule in running.get("rules")["groups"][0]["rules"]))
        assert [rule["lastError"] for rule in group["rules"] if rule.get("lastError")] == []
        # A rate needs two scrapes.
        wait_until(lambda: running.query('rate(agentidp_http_requests_total{job="agentidp"}[1m])'))
        # No histogram_quantile of a panel is a number while nobody requests a token, but it has a result.
        empty = [(title, query) for title, query in queries() if not running.query(query)]
        assert [title for title, query in empty if not WITHOUT_A_FAULT & set(NAME.findall(query))] == []
        exported = set(running.get("label/__name__/values"))
        named = set(NAME.findall(RULES.read_text() + json.dumps(DASHBOARD["panels"])))
        assert len(named) > 15
        assert named - exported - WITHOUT_A_FAULT == set()
        types = running.get("metadata")
        counters = {name for name in named if name.endswith("_total")}
        assert {types[name.removesuffix("_total")][0]["type"] for name in counters & exported} == {"counter"}
        assert running.query('ALERTS{alertstate="firing"}') == []
