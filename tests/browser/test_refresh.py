"""The page keeps itself up to date, and leaves the reader where they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Open, Watch
from tests.browser.stage import Stage, let_in
from tests.factories import NOON, Agent, count_usage, make_agent, make_organization

UNAUTHORIZED = "Failed to load resource: the server responded with a status of 401"


@pytest.fixture
def reader(stage: Stage) -> Agent:
    """An agent of a new organization, in which another agent dominates."""
    organization_id = make_organization(stage.services, "Busy")
    busy = make_agent(stage.services, organization_id, "busy")
    count_usage(stage.services, organization_id, busy.agent_id, NOON, tokens=120)
    return make_agent(stage.services, organization_id, "reader")


def opened(open_page: Open, stage: Stage, agent: Agent) -> Page:
    """The overview as *agent* sees it, with a clock that stands still."""
    page = open_page()
    page.clock.install(time=NOON)
    page.clock.pause_at(NOON.replace(hour=13))
    let_in(page, stage, agent)
    page.goto("/dashboard")
    return page


@pytest.fixture
def page(open_page: Open, stage: Stage, reader: Agent) -> Page:
    """The overview of the organization with the busy agent."""
    return opened(open_page, stage, reader)


def test_a_token_issued_meanwhile_appears_without_a_reload(page: Page, stage: Stage, reader: Agent) -> None:
    page.evaluate("window.isTheSamePage = true")
    total = page.locator("#trend .total")
    expect(total).to_have_text("120 in 30 days")
    count_usage(stage.services, reader.organization_id, reader.agent_id, NOON, tokens=5)
    page.clock.fast_forward(30_000)
    expect(total).to_have_text("120 in 30 days")
    with page.expect_response("**/dashboard"):
        page.clock.fast_forward(35_000)
    expect(total).to_have_text("125 in 30 days")
    expect(page.locator("#trend svg a:not(.flag) title").last).to_have_text(
        "Wed 15 Apr: 125 tokens so far: \u2068busy\u2069 120, \u2068reader\u2069 5"
    )
    assert page.evaluate("window.isTheSamePage")


def test_what_is_open_scrolled_and_in_focus_stays_so(page: Page, stage: Stage, reader: Agent) -> None:
    page.set_viewport_size({"width": 660, "height": 500})
    page.get_by_text("Numbers by day").click()
    table = page.locator(".scroll:has(.agents)")
    table.evaluate("box => box.scrollTo(40, 0)")
    link = page.locator("#agents tbody a", has_text="busy")
    link.focus()
    assert page.evaluate("scrollY") > 0
    place = link.bounding_box()
    count_usage(stage.services, reader.organization_id, reader.agent_id, NOON, tokens=5)
    with page.expect_response("**/dashboard"):
        page.clock.fast_forward(65_000)
    expect(page.locator("#trend .total")).to_have_text("125 in 30 days")
    expect(page.locator("details#numbers")).to_have_attribute("open", "")
    expect(link).to_be_focused()
    assert table.evaluate("box => box.scrollLeft") == 40
    # Where it was on the screen, though there is more above it now.
    assert link.bounding_box() == pytest.approx(place, abs=1)


def test_after_another_organization_signed_in_elsewhere_the_figures_stand_under_its_name(
    page: Page, stage: Stage, reader: Agent
) -> None:
    other = make_organization(stage.services, "Other")
    count_usage(stage.services, other, make_agent(stage.services, other).agent_id, NOON, tokens=33)
    let_in(page, stage, make_agent(stage.services, other, "newcomer"))
    with page.expect_response("**/dashboard"):
        page.clock.fast_forward(65_000)
    expect(page.locator("#trend .total")).to_have_text("33 in 30 days")
    expect(page.locator("header")).to_contain_text("Other")
    expect(page.locator("header")).to_contain_text("newcomer")
    assert "Busy" not in page.content()


def test_after_signing_out_elsewhere_it_shows_the_sign_in_page_and_why(page: Page, stage: Stage, watch: Watch) -> None:
    watch.expected.append(UNAUTHORIZED)
    elsewhere = page.context.new_page()
    elsewhere.goto("/dashboard/agents")
    elsewhere.get_by_role("button", name="Sign out").click()
    elsewhere.wait_for_url("**/dashboard/sign-in?signed-out")
    page.clock.fast_forward(65_000)
    expect(page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()
    expect(page.get_by_role("alert")).to_have_text("Your session has ended. Sign in again.")
    assert "Busy" not in page.content()


def test_who_signs_in_again_is_led_to_the_page_that_was_shown(page: Page, stage: Stage, watch: Watch) -> None:
    watch.expected.append(UNAUTHORIZED)
    page.goto("/dashboard/agents?search=a%26b#agents")
    page.context.clear_cookies()
    page.clock.fast_forward(65_000)
    expect(page.get_by_role("alert")).to_have_text("Your session has ended. Sign in again.")
    page.get_by_label("Access token").fill(stage.operator.token())
    page.get_by_role("button", name="Sign in with the token").click()
    page.wait_for_url("**/dashboard/agents?search=a%26b")


def test_a_page_that_the_browser_kept_asks_again_whether_it_may_be_seen(page: Page, watch: Watch) -> None:
    page.context.clear_cookies()
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()
    assert "Busy" not in page.content()


def fail(route: Route) -> None:
    route.abort()


def refuse(route: Route) -> None:
    route.fulfill(status=503, body="Not available now")


@pytest.mark.parametrize("answer", [fail, refuse])
def test_without_an_answer_it_says_so_and_goes_on(
    page: Page, stage: Stage, reader: Agent, watch: Watch, answer: Callable[[Route], None]
) -> None:
    watch.expected += ["Failed to load resource: net::ERR_FAILED", "Failed to load resource: the server responded with"]
    page.route("**/dashboard", answer)
    page.clock.fast_forward(65_000)
    expect(page.locator("body")).to_have_class("stale")
    expect(page.locator("#trend .total")).to_have_text("120 in 30 days")
    page.unroute("**/dashboard")
    count_usage(stage.services, reader.organization_id, reader.agent_id, NOON, tokens=5)
    page.clock.fast_forward(65_000)
    expect(page.locator("#trend .total")).to_have_text("125 in 30 days")
    expect(page.locator("body")).not_to_have_class("stale")
