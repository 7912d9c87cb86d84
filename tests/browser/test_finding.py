"""Acknowledging and muting a finding on its card, with JavaScript and without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from playwright.sync_api import Locator, Page, expect

from agentidp.findings.finding import Severity
from agentidp.findings.identity import MAX_MISSES
from tests.browser.conftest import PHONE, WITH_AND_WITHOUT_JAVASCRIPT, Open
from tests.browser.stage import Stage, let_in
from tests.factories import NOON, Agent, a_finding, count_usage, make_agent, make_finding, make_organization

FIRST = ".finding >> nth=0"
"""The row of the most urgent finding."""

ONGOING = ".finding.warning >> nth=0"
"""The row of the most urgent ongoing finding in the demo, whose most urgent finding has ended."""


def open_form(row: Locator) -> None:
    """Open a row of the list, if it is closed, and the form in it."""
    form = row.get_by_text("Acknowledge or mute")
    if not form.is_visible():
        row.locator("summary").first.click()
    form.click()


@pytest.fixture
def acknowledged_by_nobody(stage: Stage) -> Iterator[None]:
    """Remove acknowledgements of the demo's findings afterwards, because other tests expect an urgent finding."""
    yield
    with psycopg.connect(str(stage.services.settings.database_url), autocommit=True) as connection:
        connection.execute("select set_config('agentidp.organization_id', %s, false)", [stage.operator.organization_id])
        connection.execute("update findings set acknowledged_at = null, acknowledged_by = null, note = null")


@pytest.mark.usefixtures("acknowledged_by_nobody")
@WITH_AND_WITHOUT_JAVASCRIPT
def test_acknowledges_and_mutes_on_the_card(open_page: Open, stage: Stage, java_script_enabled: bool) -> None:
    page = open_page(stage.operator, java_script_enabled=java_script_enabled, viewport=PHONE)
    page.goto("/dashboard?days=7")
    card = page.locator(ONGOING)
    open_form(card)
    card.get_by_label("Note").fill("on it")
    card.get_by_label("Note").press("Enter")
    page.wait_for_url(f"**/dashboard?days=7#{card.locator('.more').get_attribute('id')}")
    expect(card).to_contain_text("Acknowledged by fleet-console on Wed 15 Apr, 12:00 UTC: on it")
    expect(card).to_be_in_viewport()
    open_form(card)
    card.get_by_role("button", name="Mute", exact=True).click()
    expect(card).to_contain_text("Muted until Wed 22 Apr, 00:00")
    card.get_by_role("link", name="History").click()
    expect(page.get_by_role("table")).to_contain_text("acknowledged")
    page.get_by_role("button", name="Unmute").click()
    expect(page.get_by_role("table")).to_contain_text("unmuted")
    expect(page.locator("#finding")).not_to_contain_text("Muted until")


@dataclass
class OnCall:
    """A new organization with a finding about an agent, and the overview in the session of this agent."""

    stage: Stage
    page: Page
    agents: list[Agent]
    read: UUID

    def find(self, agent: Agent, minute: int, severity: Severity = Severity.warning) -> UUID:
        """Store a finding about another agent *minute* minutes later, in place of the one that was read."""
        self.stage.clock.set(NOON + timedelta(minutes=minute))
        finding = a_finding(NOON, agent_id=agent.agent_id, severity=severity)
        return make_finding(self.stage.services, agent.organization_id, finding)

    def update(self) -> None:
        """Let the page update itself."""
        self.page.clock.fast_forward(61_000)

    @property
    def card(self) -> Locator:
        """The card of the finding that was read."""
        return self.page.locator(f"#finding-{self.read}")


@pytest.fixture
def on_call(open_page: Open, stage: Stage) -> OnCall:
    """Three agents have usage."""
    organization_id = make_organization(stage.services, "On call")
    agents = [make_agent(stage.services, organization_id, name) for name in ("first", "second", "third")]
    for agent in agents:
        count_usage(stage.services, organization_id, agent.agent_id, NOON, tokens=1)
    read = make_finding(stage.services, organization_id, a_finding(NOON, agent_id=agents[0].agent_id))
    page = open_page()
    page.clock.install()
    let_in(page, stage, agents[0])
    page.goto("/dashboard?days=7")
    return OnCall(stage, page, agents, read)


@pytest.mark.parametrize("is_open", [True, False])
def test_an_opened_form_still_belongs_to_its_finding_when_a_more_urgent_one_appears(
    on_call: OnCall, is_open: bool
) -> None:
    page = on_call.page
    if is_open:
        open_form(page.locator(FIRST))
    unread = on_call.find(on_call.agents[1], 1, Severity.critical)
    on_call.update()
    expect(page.locator("#as-of")).to_contain_text("12:01")
    # While the form is open, nothing moves below the pointer.
    expect(page.locator(FIRST)).to_have_id(f"row-{on_call.read if is_open else unread}")
    expect(page.get_by_role("status")).to_have_count(int(is_open))
    if is_open:
        page.get_by_role("button", name="Acknowledge", exact=True).click()
        expect(on_call.card).to_contain_text("Acknowledged by first")
        expect(page.locator(FIRST)).to_have_id(f"row-{unread}")
        expect(page.locator(f"#finding-{unread}")).not_to_contain_text("Acknowledged")


def test_a_form_that_is_left_open_does_not_hide_new_findings(on_call: OnCall) -> None:
    page = on_call.page
    open_form(page.locator(FIRST))
    page.get_by_label("Note").fill("on it")
    for minute, agent in enumerate(on_call.agents[1:], 1):
        unread = on_call.find(agent, minute, Severity.critical)
        on_call.update()
        expect(page.locator("#as-of")).to_contain_text(f"12:0{minute}")
    news = page.get_by_role("status")
    # The one that is read has ended meanwhile.
    expect(news).to_contain_text("3 findings are new or changed.")
    expect(news).to_be_in_viewport()
    expect(page.locator(".finding")).to_have_count(1)
    news.get_by_role("button", name="Show").click()
    expect(page.locator(".finding")).to_have_count(3)
    expect(page.locator(f"{FIRST} >> summary >> nth=0")).to_be_focused()
    expect(news).to_have_count(0)
    # The form is still that of its finding, and keeps what was entered.
    expect(on_call.card.get_by_label("Note")).to_have_value("on it")
    on_call.card.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(on_call.card).to_contain_text("Acknowledged by first")
    expect(page.locator(f"#finding-{unread}")).not_to_contain_text("Acknowledged")


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_note_is_kept_if_its_finding_ends_meanwhile(on_call: OnCall, is_listed: bool) -> None:
    page = on_call.page
    open_form(page.locator(FIRST))
    page.get_by_label("Note").fill("rotated its secret")
    for minute in range(1, MAX_MISSES + 1):
        on_call.find(on_call.agents[1], minute)
    if not is_listed:
        with psycopg.connect(str(on_call.stage.services.settings.database_url), autocommit=True) as connection:
            organization_id = on_call.agents[0].organization_id
            connection.execute("select set_config('agentidp.organization_id', %s, false)", [organization_id])
            ended = connection.execute(
                "update findings set ended_at = %s where finding_id = %s", [NOON - timedelta(days=30), on_call.read]
            )
            assert ended.rowcount == 1
    on_call.update()
    page.get_by_role("status").get_by_role("button", name="Show").click()
    expect(page.get_by_text("1 ongoing")).to_be_visible()
    expect(on_call.card.get_by_label("Note")).to_be_visible()
    expect(on_call.card.get_by_label("Note")).to_have_value("rotated its secret")
    # A further update of the page does not take it away.
    on_call.update()
    expect(on_call.card.get_by_label("Note")).to_have_value("rotated its secret")
    on_call.card.get_by_role("button", name="Acknowledge", exact=True).click()
    page.wait_for_url("**#finding-*")
    page.goto(f"/dashboard/findings/{on_call.read}")
    expect(page.get_by_role("table")).to_contain_text("rotated its secret")
