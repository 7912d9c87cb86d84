"""axe-core finds nothing on any page, dark or light; and the keyboard reaches, shows and does everything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from agentidp.demo import RETRYING, SUSPENDED
from tests.browser.conftest import DESKTOP, PHONE, Open
from tests.browser.stage import Stage, let_in, overflow
from tests.factories import Agent, make_agent, make_organization
from tests.helpers.accessibility import looked_at

ANSWERS = "preset=github&repository=acme/*&show=rule"
"""The answers to the first questions in the form of a rule of trust."""

PAGES = {
    "Overview Fri 16 Jan to Wed 15 Apr": "/dashboard?days=90",
    "Findings of 90 days": "/dashboard/findings",
    "Agents Tue 17 Mar to Wed 15 Apr": "/dashboard/agents",
    "Alert targets": "/dashboard/alert-targets",
    "Add an alert target": "/dashboard/alert-targets/new",
    "New agent": "/dashboard/agents/new",
    "Dormant agents": "/dashboard/agents/dormancy",
    "Budget": "/dashboard/budget",
    "April 2026 so far": "/dashboard/month",
    "Mark a deployment or a holiday": "/dashboard/markers/new",
    f"Edit the agent: {RETRYING.name}": f"/dashboard/agents/{RETRYING.name}/edit",
    f"Create another credential: {RETRYING.name}": f"/dashboard/agents/{RETRYING.name}/rotate",
    f"Trust tokens of another issuer: {RETRYING.name}": f"/dashboard/agents/{RETRYING.name}/trust?{ANSWERS}",
    f"Test a token: {RETRYING.name}": f"/dashboard/agents/{RETRYING.name}/trust/test",
    f"Delete the agent: {RETRYING.name}": f"/dashboard/agents/{RETRYING.name}/delete",
    "Quotas": "/dashboard/quotas",
    "Quota per day: the organization": "/dashboard/quotas/day/edit",
    f"Set a quota: {RETRYING.name}": f"/dashboard/agents/{RETRYING.name}/quotas/new",
    f"Remove the quota per month: {RETRYING.name}": f"/dashboard/agents/{RETRYING.name}/quotas/month/delete",
    "Tokens by credential Tue 17 Mar to Wed 15 Apr": "/dashboard/credentials",
    "Tokens by owner Tue 17 Mar to Wed 15 Apr": "/dashboard/usage",
    "Tokens by API Tue 17 Mar to Wed 15 Apr": "/dashboard/usage/resources",
    "Who acted for whom Tue 17 Mar to Wed 15 Apr": "/dashboard/usage/delegations",
    "Resource servers": "/dashboard/resource-servers",
    "New resource server": "/dashboard/resource-servers/new",
    "Automatic registration": "/dashboard/provisioning-rules",
    "Delegation rules": "/dashboard/delegation-rules",
    "What people have allowed": "/dashboard/grants",
    "What people have allowed: code-editor": "/dashboard/agents/code-editor/grants",
    "OpenID provider": "/dashboard/openid-provider",
    "Add an OpenID provider": "/dashboard/openid-provider/edit",
    "New delegation rule": "/dashboard/delegation-rules/new?preset=people&issuer=https://login.example&show=rule",
    "New registration rule": "/dashboard/provisioning-rules/new",
    "Audit trail": "/dashboard/audit",
    "Export Tue 17 Mar to Wed 15 Apr": "/dashboard/export",
    "Tue 14 Apr": "/dashboard/days/2026-04-14?hour=9",
    RETRYING.name: f"/dashboard/agents/{RETRYING.name}",
    f"{SUSPENDED.name} suspended": f"/dashboard/agents/{SUSPENDED.name}?days=7",
    f"Suspend the agent: {RETRYING.name}": f"/dashboard/agents/{RETRYING.name}/suspend",
    "Bad request": "/dashboard?days=91",
    "Not found": "/dashboard/agents/none",
    # With a notice.
    "Sign in": "/dashboard/sign-in?token=none",
}
"""Heading -> address."""


COLOR_RULES = ["color-contrast", "link-in-text-block"]


CUT = """() => [...document.querySelectorAll("table")].filter(table => {
    const box = table.closest(".scroll") ?? table.parentElement
    const words = getComputedStyle(table.caption, "::after").content
    return box.scrollWidth > box.clientWidth && !words.includes("Scroll sideways")
}).map(table => table.caption.textContent)"""
"""JavaScript that returns the tables that the edge of the window cuts off without a visible sign."""


def pages_with_ids(stage: Stage) -> list[str]:
    """Return the addresses of the pages of a finding and of a credential."""
    finding = stage.api("/api/v1/analytics/findings")["data"][0]
    credential = next(item for item in stage.api("/api/v1/analytics/credentials")["data"] if item["credentialId"])
    page = f"/dashboard/agents/{credential['agentId']}/credentials/{credential['credentialId']}"
    return [f"/dashboard/findings/{finding['findingId']}", page]


@pytest.fixture
def newcomer(stage: Stage) -> Agent:
    """The only agent of an organization."""
    return make_agent(stage.services, make_organization(stage.services, "Empty organization"))


def test_axe_finds_what_is_wrong(open_page: Open, axe: str) -> None:
    page = open_page()
    page.goto("/dashboard/sign-in")
    page.evaluate(
        """() => {
            document.querySelector("label").remove()
            document.querySelector("h1").style.color = "#999"
            document.documentElement.lang = ""
        }"""
    )
    assert {violation[0] for violation in looked_at(page, axe)} >= {"label", "color-contrast", "html-has-lang"}


@pytest.fixture
def quotas(stage: Stage) -> Iterator[None]:
    """Set quotas of the demo, so that pages show quotas. Few tokens are used, because a finding would stay on
    the overview, which other tests examine.
    """
    agent = f"/api/v1/agents/{RETRYING.name}/quotas"
    tokens = {"/api/v1/quotas/day": 1_000_000, f"{agent}/month": 1_000_000_000, f"{agent}/hour": 1_000_000}
    for path, count in tokens.items():
        stage.call("PUT", stage.path(path), stage.operator, tokens=count, enforce=False)
    yield
    for path in tokens:
        stage.call("DELETE", stage.path(path), stage.operator)


SMALL = """() => [...document.querySelectorAll("a[href], button, summary, input, select, textarea")].filter(target => {
    // The bars of a chart are in the table below it, too.
    if (!target.checkVisibility({ visibilityProperty: true }) || target.closest("svg, .unseen, .skip")) return false
    const { width, height } = (target.closest("label.check") ?? target).getBoundingClientRect()
    return width < 24 || height < 24
}).map(target => target.outerHTML.slice(0, 120))"""
"""The targets that are less than 24 pixels high or wide (WCAG 2.2, 2.5.8)."""


@pytest.mark.usefixtures("quotas")
def test_axe_finds_nothing_in_the_light_and_in_the_dark_and_all_pages_fit_on_a_phone_with_targets_of_24_pixels(
    signed_in: Page, stage: Stage, newcomer: Agent, axe: str
) -> None:
    problems_by_page: dict[str, list[list[str]]] = {}

    def look(heading: str) -> None:
        expect(signed_in.get_by_role("heading", level=1)).to_have_text(heading)
        for details in signed_in.locator("details > summary").all():
            details.click()
        problems_by_page[heading] = looked_at(signed_in, axe)
        problems_by_page[f"{heading}, small targets"] = [signed_in.evaluate(SMALL)]
        signed_in.emulate_media(color_scheme="dark")
        problems_by_page[f"{heading}, dark"] = looked_at(signed_in, axe, COLOR_RULES)
        signed_in.emulate_media(color_scheme="light")
        signed_in.set_viewport_size(PHONE)
        problems_by_page[f"{heading}, on a phone"] = [
            signed_in.evaluate(CUT),
            overflow(signed_in),
            signed_in.evaluate(SMALL),
        ]
        signed_in.set_viewport_size(DESKTOP)

    for heading, path in PAGES.items():
        signed_in.goto(stage.path(path))
        look(heading)
    for path in pages_with_ids(stage):
        signed_in.goto(path)
        look(signed_in.get_by_role("heading", level=1).inner_text())
    let_in(signed_in, stage, newcomer)
    signed_in.goto("/dashboard")
    look("First steps")
    assert {heading: problems for heading, problems in problems_by_page.items() if any(problems)} == {}


FOCUSED = """() => {
    const one = document.activeElement
    if (one === document.body) return null
    const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(one)
    // The ring around a bar is a stroke, because an outline would be stretched as the chart is.
    const ring = one.querySelector("rect") && getComputedStyle(one.querySelector("rect"))
    const isOutline = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 && outlineColor !== "rgba(0, 0, 0, 0)"
    const isRing = ring?.vectorEffect === "non-scaling-stroke" && parseFloat(ring.strokeWidth) >= 2
    // Of a link over two lines the first one; of what is larger than the window the part that can be seen.
    const { left, right, top, bottom } = one.getClientRects()[0]
    const [x, y] = [(Math.max(left, 0) + Math.min(right, innerWidth)) / 2,
                    (Math.max(top, 0) + Math.min(bottom, innerHeight)) / 2]
    return {
        html: one.outerHTML.slice(0, 200),
        isOutlined: isRing || isOutline,
        isInSight: one.contains(document.elementFromPoint(x, y)),
    }
}"""

REACHABLE = """() => [
    ...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")].filter(
    one => one.checkVisibility() && one.getAttribute("tabindex") !== "-1").map(one => one.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard",
        f"/dashboard/agents/{RETRYING.name}",
        "/dashboard/alert-targets/new",
    ],
)
def test_the_tab_key_reaches_everything_in_its_order_and_shows_where_it_is(
    signed_in: Page, stage: Stage, path: str
) -> None:
    signed_in.goto(stage.path(path))
    expected = signed_in.evaluate(REACHABLE)
    assert "Skip" in expected[0]
    assert len(expected) >= 6
    for key, order in (("Tab", expected), ("Shift+Tab", expected[-2::-1])):
        for html in order:
            signed_in.keyboard.press(key)
            assert signed_in.evaluate(FOCUSED) == {"html": html, "isOutlined": True, "isInSight": True}


def test_the_skip_link_goes_to_the_content(signed_in: Page) -> None:
    signed_in.goto("/dashboard")
    signed_in.keyboard.press("Tab")
    skip = signed_in.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    signed_in.keyboard.press("Enter")
    expect(signed_in.locator("main")).to_be_focused()
    signed_in.keyboard.press("Tab")
    expect(signed_in.locator("main").get_by_role("link").first).to_be_focused()
