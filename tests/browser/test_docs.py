"""``/docs``: operations can be tried out, whichever of this machine's names the reader typed."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Open, Watch
from tests.browser.stage import Stage


def test_a_token_is_requested_and_an_operation_tried_out_at_the_pages_own_address(
    open_page: Open, watch: Watch, stage: Stage
) -> None:
    # Not the name that the issuer has.
    address = stage.url.replace("localhost", "127.0.0.1")
    watch.elsewhere.append(f"{address}/")
    page = open_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/docs")
    page.get_by_role("button", name="Authorize", exact=True).first.click()
    dialog = page.locator(".modal-ux")
    dialog.get_by_label("client_id").fill(stage.operator.client_id)
    dialog.get_by_label("client_secret").fill(stage.operator.client_secret)
    with page.expect_response("**/api/v1/token") as response:
        dialog.locator(".auth-container").filter(has_text="clientCredentials").get_by_role(
            "button", name="Apply given OAuth2 credentials"
        ).click()
    assert (response.value.url, response.value.status) == (f"{address}/api/v1/token", 200)
    page.reload()
    operation = page.locator(".opblock").filter(has=page.get_by_text("/healthz", exact=False)).first
    operation.get_by_role("button").first.click()
    operation.get_by_role("button", name="Try it out").click()
    with page.expect_response("**/healthz") as response:
        operation.get_by_role("button", name="Execute").click()
    assert response.value.url == f"{address}/healthz"
    expect(operation.locator(".live-responses-table tbody .response-col_status")).to_contain_text("200")
