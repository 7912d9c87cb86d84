"""A browser that watches every page: what leaves its origin, what breaks its policy, what goes wrong in it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from tests.browser.stage import Stage, chromium, let_in, staged
from tests.conftest import _fresh_database
from tests.factories import NOON, PATIENCE, Agent

AXE = Path(__file__).parent / "axe-core"

REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", event =>
    console.error(`Content-Security-Policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`))
"""

MILLISECONDS = PATIENCE * 1000
"""Milliseconds after which an expectation of Playwright fails."""

expect.set_options(timeout=MILLISECONDS)

Open = Callable[..., Page]

PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 720}

WITH_AND_WITHOUT_JAVASCRIPT = pytest.mark.parametrize(
    "java_script_enabled", [True, False], ids=["with JavaScript", "without"]
)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A browser for all tests of this package. It ends with them, because its event loop would disturb other tests."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="package")
def shared_stage(postgres_url: str, template: str) -> Iterator[Stage]:
    """The service with the demo organization, which no test changes."""
    with contextlib.contextmanager(_fresh_database)(postgres_url, template) as url, staged(url) as stage:
        yield stage


@pytest.fixture
def stage(shared_stage: Stage) -> Iterator[Stage]:
    """The service at noon of Wednesday, 15 April 2026."""
    shared_stage.clock.set(NOON)
    yield shared_stage
    shared_stage.clock.set(NOON)


@pytest.fixture(scope="package")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core. Without npm, the tests fail."""
    directory = tmp_path_factory.mktemp("axe-core")
    shutil.copytree(AXE, directory, dirs_exist_ok=True)
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(npm, cwd=directory, capture_output=True, text=True, timeout=10 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return (directory / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


class Watch:
    """The forbidden actions of the pages of a test.

    A test may allow addresses ``elsewhere``, and console lines that begin with one of ``expected``.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.elsewhere: list[str] = []
        self.expected: list[str] = []
        self.requests: list[Request] = []
        self.problems: list[str] = []

    def request(self, request: Request) -> None:
        """Store a request, and also whether it went to another origin."""
        self.requests.append(request)
        if not request.url.startswith((self.origin + "/", "data:", *self.elsewhere)):
            self.problems.append(f"{request.method} {request.url} leaves {self.origin}")

    def console(self, message: ConsoleMessage) -> None:
        """Store an error or a warning, except the line that Chromium writes for a page with a status of 4xx."""
        page_itself = any(
            request.is_navigation_request() and request.url == message.location["url"] for request in self.requests
        )
        expected = page_itself and message.text.startswith("Failed to load resource: the server responded with a")
        expected |= message.text.startswith(tuple(self.expected))
        if message.type in ("error", "warning") and not expected:
            self.problems.append(f"console: {message.text} ({message.location})")


@pytest.fixture
def watch(stage: Stage) -> Iterator[Watch]:
    """The watch of the pages of a test. The test fails at its end if a page did something forbidden."""
    watch = Watch(stage.url)
    yield watch
    assert watch.requests
    assert watch.problems == []


@pytest.fixture
def open_page(stage: Stage, browser: Browser, watch: Watch) -> Iterator[Open]:
    """A function that opens an empty page of a new browser profile, in which *agent* is signed in, unless ``None``. Its
    options are those of Playwright's contexts.
    """
    with contextlib.ExitStack() as contexts:

        def open_page(agent: Agent | None = None, **options: object) -> Page:
            context = browser.new_context(base_url=stage.url, **options)
            contexts.callback(context.close)
            context.set_default_timeout(MILLISECONDS)
            context.add_init_script(REPORT_VIOLATIONS)
            context.on("request", watch.request)
            context.on("console", watch.console)
            context.on("weberror", lambda error: watch.problems.append(f"uncaught: {error.error}"))
            context.on("dialog", lambda dialog: (watch.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            page = context.new_page()
            if agent is not None:
                let_in(page, stage, agent)
            return page

        yield open_page


@pytest.fixture
def signed_in(open_page: Open, stage: Stage) -> Page:
    """An empty page of a browser in which the demo's operator is signed in."""
    return open_page(stage.operator)


@pytest.fixture
def phone(open_page: Open, stage: Stage) -> Page:
    """An empty page of a phone's browser in which the demo's operator is signed in."""
    return open_page(stage.operator, viewport=PHONE)
