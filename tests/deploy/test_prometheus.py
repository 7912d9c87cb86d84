"""The alert rules and the dashboard in ``deploy/``, with Debian's Prometheus: it scrapes a service and evaluates them.

Debian has no Grafana. The queries of its dashboard are run, and `make picture` shows some of them in Prometheus.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agentidp.clock import utc_now
from agentidp.services import Services
from tests.browser.picture import chunks
from tests.conftest import settings_for
from tests.deploy.picture import KEYWORD, PICTURE, digest
from tests.deploy.prometheus import DASHBOARD, RULES, program, prometheus, queries, request_token
from tests.factories import (
    ROOT,
    make_agent,
    make_alert_target,
    make_finding,
    make_organization,
    wait_until,
)
from tests.server.scrape import MeteredServer

MAX_BYTES = 150_000
NAME = re.compile(r"\bagentidp_[a-z_]+")

WITHOUT_A_FAULT = {"agentidp_database_errors_total", "agentidp_alerts_oldest_waiting_timestamp_seconds"}
"""Metrics that a service does not export while nothing is wrong."""


def test_the_rules_are_right() -> None:
    subprocess.run([program("promtool"), "check", "rules", "--lint-fatal", str(RULES)], check=True)


def test_each_alert_fires_in_its_situation_and_none_while_all_is_well(tmp_path: Path) -> None:
    tests = (Path(__file__).parent / "agentidp.rules.test.yml").read_text()
    (tmp_path / "tests.yml").write_text(tests.replace("RULES", str(RULES)))
    ran = subprocess.run([program("promtool"), "test", "rules", str(tmp_path / "tests.yml")], capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()
    for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]:
        assert rule["alert"] in tests, f"no situation in which {rule['alert']} fires"


@pytest.fixture
def metered(database_url: str) -> Iterator[MeteredServer]:
    """A service that has issued, refused and rejected something."""
    services = Services.of(settings_for(database_url), utc_now)
    agent = make_agent(services, make_organization(services))
    make_finding(services, agent.organization_id)
    make_alert_target(services, agent.organization_id)
    services.close()
    with MeteredServer(database_url) as running:
        request_token(running, agent, scope="agents:read")
        request_token(running, agent, scope="none")
        request_token(running, agent, secret="wrong")
        requested_at = time.time()
        wait_until(lambda: running.value("agentidp_database_pool_connections") >= 1)
        # Read after the requests; the day may have ended since.
        wait_until(lambda: running.value("agentidp_usage_read_timestamp_seconds") > requested_at)
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


def test_the_picture_is_of_the_rules_and_the_queries_as_they_are() -> None:
    picture = PICTURE.read_bytes()
    made_of = [content for kind, content in chunks(picture) if kind == b"tEXt"]
    assert made_of == [KEYWORD + b"\0" + digest().encode()], (
        f"an alert rule or a query of the dashboard has changed since {PICTURE.name}: run `make picture`, "
        f"look at docs/{PICTURE.name}, and commit it"
    )
    assert len(picture) < MAX_BYTES
    shown = re.search(rf"!\[[^\]]{{40,}}\]\({PICTURE.name}\)", (ROOT / "docs" / "operating.md").read_text())
    assert shown
