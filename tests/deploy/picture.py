"""``make picture``: the alert rules and some panels' queries in Debian's Prometheus, as docs/operating.md shows them.

Prometheus scrapes a service with some traffic. Its own page of alerts and its own graphs are put onto one page. The
picture holds the digest of the rules and the queries, by which a test knows an old one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page

from agentidp.clock import utc_now
from agentidp.db.embedded_postgres import temporary
from agentidp.services import Services
from tests.browser.picture import small_png
from tests.browser.stage import chromium
from tests.conftest import install, settings_for
from tests.deploy.prometheus import RULES, Prometheus, prometheus, queries, request_token
from tests.factories import ROOT, Agent, make_agent, make_finding, make_organization, wait_until
from tests.server.scrape import MeteredServer

PICTURE = ROOT / "docs" / "prometheus.png"
KEYWORD = b"agentidp-page"

PANELS = (
    "Requests by route",
    "Requests by status",
    "Token request, p99",
    "Tokens refused, by error",
    "Authentications rejected, by reason",
    "Tokens today, by organization",
)
"""The titles of panels with a single query."""

SECONDS = 150
"""Seconds of traffic. The graphs show the last two minutes."""

WIDTH = 1280


def digest() -> str:
    """Return a digest of the content of the picture, except the traffic."""
    return hashlib.sha256(json.dumps([RULES.read_text(), sorted(queries())]).encode()).hexdigest()


@contextlib.contextmanager
def service() -> Iterator[tuple[MeteredServer, list[Agent]]]:
    """Run a service with three organizations, which have one agent each."""
    with temporary() as postgres:
        install(postgres.url)
        with contextlib.closing(Services.of(settings_for(postgres.url), utc_now)) as services:
            agents = [make_agent(services, make_organization(services, name)) for name in ("Acme", "Globex", "Initech")]
            make_finding(services, agents[0].organization_id)
        with MeteredServer(postgres.url) as running:
            yield running, agents


def make_traffic(running: MeteredServer, agents: list[Agent], seconds: float) -> None:
    """Send up to 20 requests per second, more in the second half. Some of them are refused."""
    begun = time.monotonic()
    number = 0
    while (elapsed := time.monotonic() - begun) < seconds:
        agent = agents[(number % 6) // 3 + (number % 12 == 11)]
        if number % 15 == 7:
            request_token(running, agent, scope="none")
        elif number % 20 == 9 and elapsed > seconds / 2:
            request_token(running, agent, secret="wrong")
        else:
            request_token(running, agent)
        number += 1
        time.sleep(0.05 if elapsed > seconds / 2 else 0.1)


def screenshots(page: Page, running: Prometheus) -> Iterator[tuple[str, bytes]]:
    """Yield (title, screenshot) of Prometheus' page of alerts, and of its graph per panel in :data:`PANELS`."""
    base = f"http://127.0.0.1:{running.port}/classic"
    page.goto(f"{base}/alerts")
    yield "Alerts", page.locator(".container-fluid").last.screenshot()
    asked = dict(queries())
    for title in PANELS:
        query = {"g0.expr": asked[title], "g0.tab": "0", "g0.range_input": "2m", "g0.step_input": "1"}
        page.goto(f"{base}/graph?{urllib.parse.urlencode(query)}")
        page.locator(".graph svg").wait_for()
        page.wait_for_load_state("networkidle")
        # The buttons above the graph.
        page.add_style_tag(content=".graph_container > .clearfix:first-child { display: none }")
        yield title, page.locator(".graph_container").screenshot()


def composed(page: Page, taken: Iterator[tuple[str, bytes]]) -> bytes:
    """Return a screenshot of a page with all of these screenshots."""
    figures = "".join(
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f'<img src="data:image/png;base64,{base64.b64encode(screenshot).decode()}"></figure>'
        for title, screenshot in taken
    )
    page.set_viewport_size({"width": WIDTH, "height": 900})
    page.set_content(
        "<!doctype html><style>body{margin:12px;font:600 15px sans-serif;display:grid;gap:12px;"
        "grid-template-columns:repeat(3,1fr);align-items:start}figure{margin:0}"
        "figure:first-child{grid-row:span 3}img{width:100%;border:1px solid #ccc}</style>" + figures
    )
    return page.screenshot(full_page=True)


def main() -> None:
    """Make the picture again."""
    with (
        service() as (running, agents),
        tempfile.TemporaryDirectory(prefix="agentidp-") as directory,
        prometheus(Path(directory), running.metrics_address) as watching,
        chromium() as browser,
    ):
        make_traffic(running, agents, SECONDS)
        wait_until(lambda: all(rule["health"] == "ok" for rule in watching.get("rules")["groups"][0]["rules"]))
        page = browser.new_page(viewport={"width": WIDTH // 2, "height": 900})
        whole = composed(page, screenshots(page, watching))
        PICTURE.write_bytes(small_png(browser.new_page(), whole, digest()))
        print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
