"""A person signs in at node-oidc-provider in a browser, acts under their name, and signs out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from agentidp.demo import ORGANIZATION_ID
from tests.browser.conftest import WITH_AND_WITHOUT_JAVASCRIPT, Open, Watch
from tests.browser.stage import Stage, staged
from tests.conftest import _fresh_database
from tests.dashboard.node_provider import CLIENT_SECRET, node_provider
from tests.factories import free_port

ACCOUNTS = {
    "anna": {"name": "Anna Berg", "organization": ORGANIZATION_ID, "roles": ["keepers"]},
    "ben": {"name": "Ben Crane", "organization": ORGANIZATION_ID, "roles": "watchers", "userinfo": True},
}


@pytest.fixture(scope="module")
def issuer_and_stage(
    postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Stage]]:
    """The provider at 127.0.0.1, and the service at localhost: for a browser these are two sites."""
    port = free_port()
    directory = tmp_path_factory.mktemp("oidc-provider")
    dashboard = f"http://localhost:{port}/dashboard"
    with (
        node_provider(directory, free_port(), dashboard, ACCOUNTS) as settings,
        contextlib.contextmanager(_fresh_database)(postgres_url, template) as url,
    ):
        environment = {
            "AGENTIDP_OIDC_ISSUER": settings.issuer,
            "AGENTIDP_OIDC_CLIENT_ID": settings.client_id,
            "AGENTIDP_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "AGENTIDP_OIDC_LABEL": "Contoso",
            "AGENTIDP_OIDC_ORGANIZATION_CLAIM": "organization",
            "AGENTIDP_OIDC_ROLE_CLAIM": "roles",
            "AGENTIDP_OIDC_ADMINISTRATORS": "keepers",
            "AGENTIDP_OIDC_VIEWERS": "watchers",
        }
        # The provider's clock is real.
        with staged(url, None, port=port, environment=environment) as stage:
            yield settings.issuer, stage


@pytest.fixture
def stage(issuer_and_stage: tuple[str, Stage]) -> Stage:
    """The service."""
    return issuer_and_stage[1]


@pytest.fixture
def watch(watch: Watch, issuer_and_stage: tuple[str, Stage]) -> Watch:
    """The provider's own pages are not watched."""
    # They want a font of Google's, and this browser resolves no such name.
    watch.elsewhere += [issuer_and_stage[0], "https://fonts.googleapis.com/"]
    watch.expected.append("Failed to load resource: net::ERR_NAME_NOT_RESOLVED")
    return watch


def sign_in(page: Page, account: str, path: str = "/dashboard") -> None:
    """Sign in like a person, from the sign-in page to the requested page."""
    page.goto(path)
    page.get_by_role("link", name="Sign in with Contoso").click()
    page.get_by_placeholder("Enter any login").fill(account)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"**{path}")


@WITH_AND_WITHOUT_JAVASCRIPT
def test_an_administrator_signs_in_suspends_an_agent_and_signs_out(
    open_page: Open, stage: Stage, java_script_enabled: bool
) -> None:
    page = open_page(java_script_enabled=java_script_enabled)
    sign_in(page, "anna")
    expect(page.locator("header")).to_contain_text("Demo organization")
    expect(page.locator("header")).to_contain_text("Anna Berg (administrator)")
    [cookie] = page.context.cookies(f"{stage.url}/dashboard")
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("agentidp_session", True, "Strict")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Agents").click()
    page.get_by_role("link", name="price-watcher").first.click()
    page.get_by_role("link", name="Suspend the agent").click()
    page.get_by_role("button", name="Suspend the agent").click()
    page.get_by_role("link", name="Resume the agent").click()
    page.get_by_role("button", name="Resume the agent").click()
    expect(page.get_by_role("link", name="Suspend the agent")).to_be_visible()
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("table")).to_contain_text("(Anna Berg)")
    page.get_by_role("button", name="Sign out").click()
    # The provider asks whether she signs out there as well.
    page.get_by_role("button", name="Yes, sign me out").click()
    page.wait_for_url("**/dashboard/sign-in?signed-out")
    expect(page.get_by_role("alert")).to_contain_text("You are signed out.")
    assert [one for one in page.context.cookies() if one["name"].startswith("agentidp_session")] == []
    page.goto("/dashboard")
    expect(page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()


def test_a_viewer_is_led_to_the_page_that_was_asked_for_and_sees_no_buttons(open_page: Open) -> None:
    page = open_page()
    sign_in(page, "ben", "/dashboard/agents?search=price")
    expect(page.get_by_role("link", name="price-watcher").first).to_be_visible()
    expect(page.locator("header")).to_contain_text("Ben Crane (viewer)")
    expect(page.get_by_role("link", name="Audit", exact=True)).to_have_count(0)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Agents").click()
    page.get_by_role("link", name="price-watcher").first.click()
    expect(page.get_by_role("heading", name="price-watcher").first).to_be_visible()
    expect(page.get_by_role("link", name="Suspend the agent")).to_have_count(0)


def test_who_does_not_consent_gets_an_explanation(open_page: Open) -> None:
    page = open_page()
    page.goto("/dashboard")
    page.get_by_role("link", name="Sign in with Contoso").click()
    page.get_by_role("link", name="[ Cancel ]").click()
    expect(page.get_by_role("alert")).to_contain_text("Your company did not sign you in.")
    expect(page.get_by_label("Client ID")).to_be_visible()
