"""An administrator makes a resource server, an agent and a credential on a phone, with JavaScript and without."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, WITH_AND_WITHOUT_JAVASCRIPT, Open
from tests.browser.stage import Stage, overflow
from tests.factories import make_agent, make_organization
from tests.helpers.accessibility import looked_at


@WITH_AND_WITHOUT_JAVASCRIPT
def test_registers_an_api_an_agent_with_its_scope_and_a_credential(
    open_page: Open, stage: Stage, java_script_enabled: bool
) -> None:
    organization_id = make_organization(stage.services, "Building")
    operator = make_agent(stage.services, organization_id, "operator")
    page = open_page(operator, java_script_enabled=java_script_enabled, viewport=PHONE)
    page.goto("/dashboard/agents")
    # The menu works without JavaScript too.
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="Settings").click()
    page.get_by_role("link", name="Resource servers").click()
    page.get_by_role("link", name="New resource server").click()
    page.get_by_label("Name").fill("Files")
    page.get_by_label("Identifier").fill(f"https://{organization_id}.example/{'long/' * 20}")
    page.get_by_label("Scopes").fill("files:read\nfiles:write")
    page.get_by_role("button", name="Register the resource server").click()
    expect(page.get_by_text("No agent has a scope of this API.")).to_be_visible()
    page.get_by_role("link", name="Give scopes to an agent").click()
    page.get_by_role("link", name="New agent").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("New agent")
    assert overflow(page) == []
    page.get_by_label("Name").fill("operator")
    page.get_by_label("Description").fill("Reads files.\nAll of them.")
    page.get_by_label("Owner").fill("Platform")
    page.get_by_label("files:read").check()
    page.get_by_label("agents:read").uncheck()
    button = page.get_by_role("button", name="Create the agent")
    button.click()
    expect(page.get_by_role("alert")).to_have_text("Another agent has this name.")
    expect(page.get_by_label("Description")).to_have_value("Reads files.\nAll of them.")
    expect(page.get_by_label("files:read")).to_be_checked()
    expect(page.get_by_label("agents:read")).not_to_be_checked()
    page.get_by_role("alert").get_by_role("link").click()
    expect(page.get_by_label("Name")).to_be_focused()
    page.get_by_label("Name").fill("file-reader")
    if java_script_enabled:
        button.evaluate("button => { button.click(); button.click() }")
    else:
        button.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("file-reader")
    expect(page.locator("#scopes dd")).to_have_text(["analytics:read", "files:read"])
    page.get_by_role("link", name="Create another credential").click()
    page.get_by_label("Label").fill("laptop")
    page.get_by_label("Day on which it expires").fill("2026-05-01")
    page.get_by_role("button", name="Create another credential").click()
    secret = page.locator(".secret code").last.inner_text()
    page.get_by_role("link", name="the agent").click()
    row = page.get_by_role("row", name="laptop")
    expect(row).to_contain_text("Fri 1 May, 00:00")
    assert secret not in page.content()
    page.get_by_role("link", name="Files").click()
    expect(page.get_by_role("row", name="file-reader")).to_contain_text("files:read")
    assert {agent["name"] for agent in stage.api("/api/v1/agents", operator)["data"]} == {"operator", "file-reader"}


def test_forms_fit_and_are_accessible_on_a_phone_also_with_errors(phone: Page, axe: str) -> None:
    for path in ("/dashboard/agents/new", "/dashboard/resource-servers/new", "/dashboard/alert-targets/new"):
        phone.goto(path)
        assert overflow(phone) == []
        # A browser would not send a form that lacks what is required.
        phone.locator("main form").evaluate("form => form.noValidate = true")
        phone.get_by_label("Name").fill("")
        phone.locator("button.primary").click()
        expect(phone.get_by_role("alert")).to_contain_text("The name must have 1 to 100 characters.")
        field = phone.get_by_label("Name")
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description("The name must have 1 to 100 characters.")
        assert overflow(phone) == []
        assert looked_at(phone, axe) == []
