"""The overview shows the alert targets that fail."""

from __future__ import annotations

from flask.testing import FlaskClient

from agentidp.services import Services
from tests.conftest import Cast
from tests.dashboard.conftest import Page, with_session
from tests.factories import NOON, fail_target, make_alert_target


def test_the_overview_names_a_target_that_fails_and_not_its_address(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    acme = cast.acme
    with_session(client, acme.colleague("reader", {"analytics:read"}))
    acme.count(NOON, tokens=20)
    target_id = make_alert_target(services, acme.organization_id, "<on-call>")
    make_alert_target(services, cast.outsider.organization_id, "outsider's")
    assert "have failed since" not in client.get("/dashboard").text
    # The target belongs to Acme, so the second call changes nothing.
    for organization_id in (acme.organization_id, cast.outsider.organization_id):
        fail_target(services, organization_id, target_id)
    page = client.get("/dashboard").text
    reason = "alerts have failed since Wed 15 Apr, 12:00 UTC: the status of the response was 500."
    assert f"<b>&lt;on-call&gt;</b>: {reason}" in page
    for hidden in ("outsider", 'id="failures"', "hooks.example", "/dashboard/alert-targets"):
        assert hidden not in page


def test_several_targets_that_fail_are_one_banner(signed_in: FlaskClient, services: Services, cast: Cast) -> None:
    acme = cast.acme
    acme.count(NOON, tokens=20)
    make_alert_target(services, cast.outsider.organization_id)
    targets = {
        name: make_alert_target(services, acme.organization_id, name) for name in ("one", "three", "two", "well")
    }
    for name in ("one", "two", "three"):
        fail_target(services, acme.organization_id, targets[name], is_gone=name == "two")
    page = Page(signed_in.get("/dashboard"))
    [banner] = [section for section in page.all("section") if section.get("id") == "failing-targets"]
    assert banner["class"] == "notice"
    since, reason = "alerts have failed since Wed 15 Apr, 12:00 UTC", ": the status of the response was 500."
    assert (
        "3 of 4 alert targets fail, the first since Wed 15 Apr, 12:00 UTC. "
        f"Alert targets Failing targets one: {since}{reason} three: {since}{reason} "
        f"two: {since}, and nothing is sent any more{reason} "
    ) in page.words
