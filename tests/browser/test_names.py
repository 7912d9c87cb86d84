"""Names that are markup, change the direction of text, or are as long as they may be, are shown as text."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from agentidp.http.schemas import MAX_NAME
from tests.browser.conftest import PHONE, Open
from tests.browser.stage import Stage, overflow
from tests.factories import NOON, Agent, count_usage, make_agent, make_organization

NAMES = {
    "script": "<script>alert(document.domain)</script>",
    "image": "\"'><img src=x onerror=alert(1)>",
    "end of the title": "</title></bdi></main><svg onload=alert(1)>",
    "template": "{{ 7 * 7 }} {% raw %} &lt;b&gt; &amp;#60;",
    "right to left": "\u05e1\u05d5\u05db\u05df 7 \u0648\u0643\u064a\u0644 12",
    "override": "\u202e\u2067evil\u202eexe.fdp",
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f680\U0001f3f3\ufe0f\u200d\U0001f308",
    "combining": "Z" + "\u0351\u0357\u035b" * 33,
    "one long word": "W" * MAX_NAME,
    "wide": "\ufdfd" * MAX_NAME,
}


LOOSE = r"""() => {
    const turning = /[\u0590-\u08ff\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff]/
    // A title of SVG has no element that isolates a name, so two characters do.
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), loose = []
    while (texts.nextNode()) {
        const { data, parentElement } = texts.currentNode
        if (turning.test(data.replace(/\u2068[^\u2069]*\u2069/g, "")) && !parentElement.closest("bdi")) loose.push(data)
    }
    return loose
}"""


@pytest.fixture(scope="package")
def naughty(shared_stage: Stage) -> Agent:
    """The reader of an organization in which every name is one of those; one of its agents dominates."""
    services = shared_stage.services
    organization_id = make_organization(services, "\u202e<b>" + "W" * 96)
    reader = make_agent(services, organization_id, "<i>reader</i>\u202e")
    for number, name in enumerate(NAMES.values()):
        agent = make_agent(services, organization_id, name)
        count_usage(services, organization_id, agent.agent_id, NOON, tokens=2 if number else 150)
    return reader


def shown_as_text(page: Page) -> None:
    """Fail unless the page has only elements of the templates, and no name changes the direction of other text."""
    assert page.locator("script").count() == 1
    assert page.locator("img, iframe, base, [onload], [onerror], bdi *").count() == 0
    # Whatever has a direction of its own is isolated from the sentence around it.
    assert page.evaluate(LOOSE) == []
    assert overflow(page) == [], page.url


def test_names_are_text_on_every_page_also_on_a_narrow_screen(open_page: Open, naughty: Agent, stage: Stage) -> None:
    page = open_page(naughty, viewport=PHONE)
    page.goto("/dashboard")
    expect(page.locator(".organization")).to_have_text("\u202e<b>" + "W" * 96)
    expect(page.locator(".who")).to_have_text("Signed in as <i>reader</i>\u202e")
    expect(page.locator(".finding").first).to_contain_text(NAMES["script"])
    shown_as_text(page)
    for path in ("/dashboard", "/dashboard/agents"):
        page.goto(path)
        names = page.locator("table.agents tbody a:not(.badge, .only)").all_text_contents()
        everybody = {*NAMES.values(), "<i>reader</i>\u202e"}
        # The overview lists the busiest ten.
        assert len(names) == len({*names} & everybody) == (10 if path == "/dashboard" else len(everybody))
        shown_as_text(page)
    agents = stage.api("/api/v1/analytics/agents?include=name", naughty)["data"]
    for agent in agents:
        page.goto(f"/dashboard/agents/{agent['agentId']}")
        expect(page.get_by_role("heading", level=1)).to_have_text(agent["agentName"])
        assert page.title() == f"{agent['agentName']} · AgentIdP"
        shown_as_text(page)
    assert len(agents) >= len(NAMES)
