"""Chromium, and AgentIdP under gunicorn with the demo organization at an instant that the test sets."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from agentidp.config import Settings
from agentidp.dashboard import session
from agentidp.demo import create_demo
from agentidp.registry.credentials import add_credential
from agentidp.services import Services
from tests.browser.serving import CLOCK, read_clock
from tests.factories import (
    NOON,
    PATIENCE,
    SECRET_KEY,
    Agent,
    Server,
    database_of,
    demo_operator,
    demo_path,
    free_port,
)


@dataclass
class FileClock:
    """The clock of the service and of the test."""

    path: Path

    def __call__(self) -> datetime:
        return read_clock(self.path)

    def set(self, at: datetime | None) -> None:
        """Stop the clock at an instant with a time zone, or let it run if ``None``."""
        new = self.path.with_suffix(".new")
        new.write_text(at.isoformat() if at else "", encoding="ascii")
        new.replace(self.path)


@dataclass
class Stage:
    """A running service with the demo organization. ``operator`` is the demo's agent that has every scope."""

    url: str
    clock: FileClock
    services: Services
    operator: Agent

    def path(self, path: str) -> str:
        """Return *path* with the ids of the demo's agents in place of their names."""
        return demo_path(self.services, path)

    def api(self, path: str, agent: Agent | None = None) -> Any:
        """Return the response of the API to an agent, by default to the demo's operator."""
        return self.call("GET", path, agent or self.operator)

    def call(self, method: str, path: str, agent: Agent, **body: Any) -> Any:
        """Return the response of the API to a request of an agent."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            headers=agent.bearer() | {"Content-Type": "application/json"},
            data=json.dumps(body).encode() if body else None,
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return json.loads(response.read() or "null")


def sign_in(page: Page, agent: Agent) -> None:
    """Sign in by the form, as a person does."""
    page.goto("/dashboard/sign-in")
    page.get_by_label("Client ID").fill(agent.client_id)
    page.get_by_label("Client secret").fill(agent.client_secret)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/dashboard")


def let_in(page: Page, stage: Stage, agent: Agent) -> None:
    """Give the browser the cookie of a session of *agent*, which is faster than signing in."""
    name = session.cookie_name(stage.services.settings)
    page.context.add_cookies([{"name": name, "value": agent.token(), "domain": "localhost", "path": "/dashboard"}])


def overflow(page: Page) -> list[str]:
    """Return the HTML of the elements that make the page wider than its window."""
    # A page to which the browser has just gone has no elements yet.
    page.wait_for_load_state()
    elements: list[str] = page.evaluate(
        """() => {
            const width = document.scrollingElement.scrollWidth
            if (width <= innerWidth) return []
            const wide = [...document.querySelectorAll("body *")].filter(
                one => one.getBoundingClientRect().right > innerWidth && !one.closest(".scroll"))
            return [`${width} > ${innerWidth}`, ...wide.map(one => one.outerHTML)]
        }"""
    )
    return elements


@contextlib.contextmanager
def staged(
    database_url: str,
    at: datetime | None = NOON,
    *,
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Stage]:
    """Run gunicorn with the configuration of production on a migrated database, and make the demo organization in it.

    :param at: the time of the stopped clock, or ``None`` if the clock runs. The demo's last day is the clock's day.
    :param environment: further settings.
    """
    port = port or free_port()
    url = f"http://localhost:{port}"
    own = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY, "AGENTIDP_ISSUER": url}
    # A name in the system's directory for the account that PostgreSQL does not need here.
    with tempfile.TemporaryDirectory(prefix="agentidp-browser-") as directory:
        clock = FileClock(Path(directory) / "clock")
        clock.set(at)
        settings = Settings(
            database_url=database_url,
            data_dir=Path("/nonexistent"),
            secret_key=SECRET_KEY.encode(),
            issuer=url,
            pool_max_size=4,
        )
        with contextlib.closing(Services.of(settings, clock)) as services:
            create_demo(database_url, services.database, clock())
            operator = demo_operator(services)
            with database_of(services, operator.organization_id).transaction() as transaction:
                _, secret = add_credential(transaction, operator.agent_id, expires_at=None)
            assert secret is not None
            operator.client_secret = secret
            own |= {"PORT": str(port), CLOCK: str(clock.path), **(environment or {})}
            with Server(own, application="tests.browser.serving:app()"):
                yield Stage(url, clock, services, operator)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium without its user interface, which takes two thirds of its processor time even if no window
    is shown. Chromium reaches only this machine. The tests fail if Chromium is missing.
    """
    program = shutil.which("chromium-headless-shell")
    assert program, "the tests of the dashboard need Chromium: apt-get install chromium-headless-shell"
    arguments = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"]
    if os.geteuid() == 0:
        # Chromium refuses to sandbox root; it sees nothing but our own pages.
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        # Playwright turns off background networking and updates, but also the back/forward cache, which people have.
        browser = playwright.chromium.launch(
            executable_path=program, args=arguments, ignore_default_args=["--disable-back-forward-cache"]
        )
        yield browser
        browser.close()
