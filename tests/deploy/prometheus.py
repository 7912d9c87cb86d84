"""Debian's Prometheus with the configuration, the alert rules and the queries of the dashboard in ``deploy/``."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.deployment import DEPLOY, FORM, fetch
from tests.factories import PATIENCE, Agent, free_port, wait_until
from tests.server.scrape import MeteredServer

RULES = DEPLOY / "prometheus" / "agentidp.rules.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "agentidp.json").read_text())


def program(name: str) -> str:
    """Return the path of a program of Debian's package."""
    path = shutil.which(name)
    assert path, f"{name} must be installed: apt-get install prometheus"
    return path


def queries() -> Iterator[tuple[str, str]]:
    """Yield (panel title, query) for the dashboard, with queries as Grafana sends them."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$job", "agentidp").replace("$__rate_interval", "1m")


@dataclass
class Prometheus:
    """Debian's Prometheus with the shipped configuration. Only the port and the intervals differ."""

    port: int

    def get(self, path: str, **query: str) -> Any:
        """Return the data in a response of Prometheus' API."""
        address = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=PATIENCE) as response:
            return json.loads(response.read())["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the present result of an expression."""
        samples: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return samples


@contextlib.contextmanager
def prometheus(directory: Path, target: str) -> Iterator[Prometheus]:
    """Run Prometheus in *directory*. It scrapes *target* every second."""
    configuration = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    for old, new in {"127.0.0.1:9464": target, ": 15s": ": 1s"}.items():
        assert old in configuration
        configuration = configuration.replace(old, new)
    (directory / "prometheus.yml").write_text(configuration)
    shutil.copy(RULES, directory)
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


def request_token(service: MeteredServer, agent: Agent, *, scope: str = "", secret: str | None = None) -> None:
    """Request a token, which may be refused.

    :param secret: replaces the agent's secret.
    """
    form = agent.form | {"client_secret": secret or agent.client_secret, "scope": scope}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)) as connection:
        fetch(connection, "POST", "/api/v1/token", urllib.parse.urlencode(form).encode(), FORM)
