"""An operator suspends, resumes and rotates an agent with the mouse, with JavaScript and without."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.stage import Stage, let_in
from tests.factories import make_agent, make_organization


@pytest.mark.parametrize("java_script_enabled", [True, False])
def test_suspends_resumes_and_rotates_after_a_confirmation(
    open_page: Open, stage: Stage, java_script_enabled: bool
) -> None:
    organization_id = make_organization(stage.services, "Acting")
    operator = make_agent(stage.services, organization_id, "operator")
    agent = make_agent(stage.services, organization_id, "worker")
    page = open_page(java_script_enabled=java_script_enabled, viewport={"width": 360, "height": 740})
    let_in(page, stage, operator)
    address = f"{stage.url}/dashboard/agents/{agent.agent_id}"
    page.goto(address)
    for action, status in (("Suspend", "suspended"), ("Resume", "active")):
        page.get_by_role("link", name=f"{action} the agent").click()
        page.get_by_role("link", name="Cancel").click()
        page.wait_for_url(address)
        page.get_by_role("link", name=f"{action} the agent").click()
        page.get_by_role("button", name=f"{action} the agent").click()
        page.wait_for_url(address)
        assert stage.api(f"/api/v1/agents/{agent.agent_id}", operator)["status"] == status
    page.get_by_role("link", name="Create another credential").click()
    button = page.get_by_role("button", name="Create another credential")
    if java_script_enabled:
        # The response to the second of two clicks, however far apart, would not show the secret.
        button.evaluate("button => { button.click(); button.click() }")
    else:
        button.click()
    expect(page.get_by_text("it is not shown again")).to_be_visible()
    assert page.locator(".secret code").last.inner_text().startswith("aidp_")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("This form was sent before")
    page.get_by_role("link", name="The page of the agent").click()
    expect(page.get_by_role("table", name="Credentials")).to_be_visible()
    page.get_by_role("link", name="Revoke the credential").first.click()
    page.get_by_role("button", name="Revoke the credential").click()
    page.wait_for_url(address)
    assert len(stage.api(f"/api/v1/agents/{agent.agent_id}/credentials", operator)["data"]) == 1
