"""An operator adds, tests and deletes an alert target, with JavaScript and without, on a telephone and by keyboard."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import PHONE, WITH_AND_WITHOUT_JAVASCRIPT, Open
from tests.browser.stage import Stage
from tests.factories import make_agent, make_organization
from tests.helpers.accessibility import looked_at


@WITH_AND_WITHOUT_JAVASCRIPT
def test_adds_tests_and_deletes_a_target_by_keyboard(
    open_page: Open, stage: Stage, axe: str, java_script_enabled: bool
) -> None:
    operator = make_agent(stage.services, make_organization(stage.services, "Alerting"), "operator")
    page = open_page(operator, java_script_enabled=java_script_enabled, viewport=PHONE)
    page.goto(f"{stage.url}/dashboard?days=30")

    def check(heading: str) -> None:
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        if java_script_enabled:
            for scheme in ("dark", "light"):
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                # axe cannot compute the contrast of cells that are out of sight. test_accessibility checks them.
                assert [violation for violation in looked_at(page, axe) if violation[0] != "color-contrast"] == []

    page.get_by_role("button", name="Menu").press("Enter")
    page.get_by_role("link", name="Settings").press("Enter")
    page.get_by_role("link", name="Alerts").press("Enter")
    check("Alert targets")
    page.get_by_role("link", name="Add a target").press("Enter")
    check("Add an alert target")
    page.get_by_label("Name").fill("on-call")
    page.get_by_label("Address").fill("https://hooks.example/services/T0/B0/very-secret")
    page.get_by_label("silence").press("Space")
    page.get_by_role("button", name="Add the target").press("Enter")
    check("New alert target: on-call")
    expect(page.locator(".secret code")).to_contain_text("whsec_")
    page.reload()
    check("You have already submitted this form")
    page.get_by_role("link", name="All targets").press("Enter")
    expect(page.get_by_role("table", name="Alert targets, failing")).to_contain_text(
        "kinds: silence; minimum severity: warning"
    )
    page.get_by_role("link", name="Test the target on-call").press("Enter")
    check("Send a test: on-call")
    page.get_by_role("link", name="Cancel").press("Enter")
    page.get_by_role("link", name="Test the target on-call").press("Enter")
    page.get_by_role("button", name="Send a test").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("A test message to on-call will be sent within seconds")
    check("Alert targets")
    expect(page.get_by_role("table", name="Alerts of the last seven days")).to_contain_text("waiting")
    [target] = stage.api("/api/v1/alert-targets", operator)["data"]
    assert (target["kinds"], target["enabled"]) == (["silence"], True)
    page.get_by_role("link", name="Delete the target on-call").press("Enter")
    check("Delete the target: on-call")
    page.get_by_role("button", name="Delete the target").press("Enter")
    expect(page.get_by_text("nobody gets alerts")).to_be_visible()
    assert stage.api("/api/v1/alert-targets", operator)["data"] == []
