"""Signing in and out in a browser: by credential, token or link; what ends a session, and what is left of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Error, Page, Route, expect

from tests.browser.conftest import Open, Watch
from tests.browser.stage import Stage, sign_in
from tests.factories import make_agent, make_organization, wait_until

ELSEWHERE = "http://elsewhere.example/"


def expect_signed_in(page: Page, organization: str = "Demo organization") -> None:
    """The overview of an organization is shown."""
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    expect(page.locator("header")).to_contain_text(organization)


def expect_signed_out(page: Page) -> None:
    """The sign-in page is shown, and nothing of any organization."""
    expect(page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()
    # Who comes from another site is led to the same page once more, and its content cannot be read on the way.
    expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)
    page.wait_for_load_state()
    source = page.content()
    for private in ("Demo organization", "fleet-console", "price-watcher", "Sign out"):
        assert private not in source


def go_back(page: Page) -> None:
    """Go back like the button of the browser. Playwright's function ignores pages from the browser's cache."""
    before = page.url
    page.evaluate("void setTimeout(() => history.back())")

    def has_gone() -> bool:
        with contextlib.suppress(Error):
            return bool(page.evaluate("location.href") != before)
        return False

    wait_until(has_gone)
    page.wait_for_load_state()


def test_a_link_signs_in_and_leaves_no_token_in_the_address_or_the_history(open_page: Open, stage: Stage) -> None:
    page = open_page()
    page.goto("/dashboard/sign-in")
    link = stage.operator.link()
    page.goto(link)
    expect_signed_in(page)
    assert page.url == f"{stage.url}/dashboard"
    go_back(page)
    assert page.evaluate("location.href") == f"{stage.url}/dashboard/sign-in"
    thief = open_page()
    thief.goto(link)
    expect(thief.get_by_role("alert")).to_contain_text("This link is no longer valid")
    expect_signed_out(thief)
    assert thief.context.cookies() == []


def test_the_back_button_shows_nothing_private_after_signing_out(open_page: Open, stage: Stage) -> None:
    page = open_page()
    sign_in(page, stage.operator)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Agents").click()
    page.wait_for_url("**/dashboard/agents")
    page.get_by_role("button", name="Sign out").click()
    expect_signed_out(page)
    go_back(page)
    assert page.evaluate("location.href") == f"{stage.url}/dashboard/agents"
    expect_signed_out(page)
    # This browser keeps pages for the button, and says why it did not keep this one.
    assert {"reason": "response-cache-control-no-store"} in page.evaluate(
        "performance.getEntriesByType('navigation')[0].notRestoredReasons.reasons"
    )
    go_back(page)
    assert page.evaluate("location.href") == f"{stage.url}/dashboard"
    expect_signed_out(page)


def test_without_javascript_one_signs_in_reads_and_signs_out(open_page: Open, stage: Stage) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, stage.operator)
    expect_signed_in(page)
    for region in ("Findings", "Tokens issued", "Rejected requests", "Requests by weekday and hour", "Agents"):
        expect(page.get_by_role("heading", name=region, level=2)).to_be_visible()
    page.get_by_text("Numbers by day").click()
    expect(page.get_by_role("table", name="Tokens issued, requests and rejected requests")).to_be_visible()
    page.get_by_role("link", name="7 days").click()
    page.wait_for_url("**/dashboard?days=7")
    page.get_by_role("button", name="Sign out").click()
    expect_signed_out(page)
    page.go_back()
    expect_signed_out(page)


@pytest.fixture
def visit_elsewhere(watch: Watch) -> Callable[[Page, str], None]:
    """Open a page of another site, which is made up on the way."""

    def visit(page: Page, html: str) -> None:
        watch.elsewhere.append(ELSEWHERE)

        def answer(route: Route) -> None:
            route.fulfill(body=html, content_type="text/html")

        page.route(ELSEWHERE, answer)
        page.goto(ELSEWHERE)

    return visit


def test_a_link_on_another_site_cannot_sign_anyone_in(
    open_page: Open, stage: Stage, visit_elsewhere: Callable[[Page, str], None]
) -> None:
    attacker = make_agent(stage.services, make_organization(stage.services, "Attacker"))
    victim = open_page()
    visit_elsewhere(victim, f'<a href="{stage.url}{attacker.link()}">Win</a>')
    victim.get_by_role("link").click()
    expect(victim.get_by_role("heading", name="Not allowed")).to_be_visible()
    assert victim.context.cookies() == []


def test_a_link_on_another_site_leads_to_its_page_and_leaves_the_session_alone(
    open_page: Open, stage: Stage, visit_elsewhere: Callable[[Page, str], None]
) -> None:
    page = open_page()
    sign_in(page, stage.operator)
    visit_elsewhere(page, f'<a href="{stage.url}/dashboard/agents?search=price">The dashboard</a>')
    page.get_by_role("link").click()
    # SameSite=Strict: the first page that is asked for from elsewhere comes without the cookie, and leads to itself.
    page.wait_for_url("**/dashboard/agents?search=price")
    expect_signed_in(page)
    page.context.clear_cookies()
    visit_elsewhere(page, f'<a href="{stage.url}/dashboard">The dashboard</a>')
    page.get_by_role("link").click()
    expect_signed_out(page)


def test_another_site_cannot_sign_anyone_out_or_put_the_dashboard_into_a_frame(
    open_page: Open, stage: Stage, watch: Watch, visit_elsewhere: Callable[[Page, str], None]
) -> None:
    page = open_page()
    sign_in(page, stage.operator)
    # Chromium says in the console that it refuses.
    watch.expected += ["Framing 'http://localhost", "Refused to frame", "Content-Security-Policy: frame-ancestors"]
    visit_elsewhere(
        page,
        f"""<iframe src="{stage.url}/dashboard"></iframe>
        <form method=post action="{stage.url}/dashboard/sign-out"><button>Win</button></form>""",
    )
    frame = page.frames[1]
    assert "Demo organization" not in json.dumps(frame.content())
    page.get_by_role("button").click()
    page.wait_for_url("**/dashboard/sign-out")
    page.goto("/dashboard")
    expect_signed_in(page)
