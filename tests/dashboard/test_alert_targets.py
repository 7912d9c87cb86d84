"""The page of alert targets: what it lists and changes, and its test button."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.alerts import outbox
from agentidp.alerts.targets import TEST_INTERVAL
from agentidp.services import Services
from tests.alerts.conftest import change
from tests.conftest import Cast
from tests.dashboard.conftest import Page, led_to, post
from tests.factories import NOON, Agent, Clock, make_alert_target

PATH = "/dashboard/alert-targets"
TITLE = change().title
"""The title of the finding whose changes are sent below."""

FORM = {"name": "on-call", "type": "webhook", "url": "https://hooks.example/T0/secret", "minimumSeverity": "warning"}


@pytest.fixture
def target_id(services: Services, cast: Cast) -> UUID:
    """The id of a target of Acme. The outsider has a target too."""
    make_alert_target(services, cast.outsider.organization_id, "outsider's")
    return make_alert_target(services, cast.acme.organization_id, "<on-call>")


def stored(acme: Agent) -> list[Any]:
    """The rows of Acme's targets."""
    return acme.database.fetch("alerts/list_targets")


def deliveries(acme: Agent) -> list[Any]:
    """Return the deliveries in Acme's outbox, newest first."""
    return acme.database.fetch("alerts/list_deliveries", limit=100)


def fail(acme: Agent, target_id: UUID, delivery_id: UUID, error: str, **values: Any) -> None:
    """Record a failed attempt."""
    retry = {"next_attempt_at": NOON + timedelta(minutes=5), "paused_until": NOON, "is_last": False, "is_gone": False}
    acme.database.fetch_durably(
        "alerts/record_failure", target_id=target_id, delivery_id=delivery_id, error=error, **(retry | values)
    )


def test_lists_where_alerts_go_and_no_secret(signed_in: FlaskClient, cast: Cast, target_id: UUID) -> None:
    row = {"kinds": ["spike", "silence"], "minimumSeverity": "critical", "owners": "Ada\r\n\r\n Grace"}
    assert post(signed_in, f"{PATH}/new", **(FORM | row | {"name": "second"})).status_code == 200
    response = signed_in.get(PATH)
    page = Page(response)
    first_row, second_row = sorted(page.table("Alert targets"))
    assert first_row[:4] == ["<on-call>", "webhook https://hooks.example", "minimum severity: warning", "never"]
    filters = "kinds: spike, silence; minimum severity: critical; owners: Ada, Grace"
    assert second_row[:3] == ["second", "webhook https://hooks.example", filters]
    assert "secret" not in response.text
    assert "outsider" not in page.text
    assert "Nothing was sent in the last seven days." in page.text
    assert f'<a href="{PATH}" aria-current="page">Alerts</a>' in response.text


def test_says_what_was_delivered_what_waits_and_why(
    signed_in: FlaskClient, acme: Agent, target_id: UUID, clock: Clock
) -> None:
    finding_id = uuid.uuid4()
    with acme.database.transaction() as opened:
        for ago, name in ((1, "opened"), (0, "resolved")):
            outbox.enqueue_alert(opened, change(NOON - timedelta(minutes=ago), finding_id=finding_id, change=name))
    waiting, begun = deliveries(acme)
    acme.database.fetch_durably("alerts/record_success", target_id=target_id, delivery_id=begun.delivery_id)
    fail(acme, target_id, waiting.delivery_id, "the status of the response was 500")
    page = Page(signed_in.get(PATH))
    [target] = page.table("Alert targets")
    assert target[0] == "<on-call> fails"
    assert target[3] == "Wed 15 Apr, 12:00"
    assert target[4] == "Wed 15 Apr, 12:00: the status of the response was 500"
    assert page.table("Alerts") == [
        [
            *("Wed 15 Apr, 12:00", "<on-call>", f"{TITLE} resolved"),
            "waiting; next attempt Wed 15 Apr, 12:05 1 attempt: the status of the response was 500",
        ],
        ["Wed 15 Apr, 11:59", "<on-call>", f"{TITLE} opened", "delivered Wed 15 Apr, 12:00"],
    ]
    assert f"/dashboard/findings/{finding_id}" in page.links
    fail(acme, target_id, waiting.delivery_id, "gone", is_last=True, is_gone=True)
    page = Page(signed_in.get(PATH))
    assert page.table("Alerts")[0][3] == "given up Wed 15 Apr, 12:00 2 attempts: gone"
    assert page.table("Alert targets")[0][0] == "<on-call> disabled fails"


def test_tests_a_target_after_a_confirmation(
    signed_in: FlaskClient, acme: Agent, target_id: UUID, clock: Clock
) -> None:
    address = f"{PATH}/{target_id}/test"
    assert address in Page(signed_in.get(PATH)).links
    confirmation = Page(signed_in.get(address))
    assert "Send a test: <on-call>" in confirmation.text
    assert deliveries(acme) == []
    assert led_to(post(signed_in, address)) == f"{PATH}?tested={target_id}"
    [sent] = deliveries(acme)
    assert (sent.change, sent.target_id) == ("test", target_id)
    page = Page(signed_in.get(f"{PATH}?tested={target_id}"))
    assert "A test message to <on-call> will be sent within seconds." in page.text
    assert page.table("Alerts")[0][2:] == ["test", "waiting"]
    # Neither a click in a hurry nor a reload sends a second one.
    clock.now += TEST_INTERVAL
    second_response = post(signed_in, address)
    assert second_response.status_code == 429
    assert "Too many requests An alert target can be tested once in 30 seconds." in Page(second_response).words
    assert len(deliveries(acme)) == 1


def test_disables_enables_and_deletes(signed_in: FlaskClient, acme: Agent, target_id: UUID) -> None:
    for action, is_enabled in (("disable", False), ("enable", True)):
        address = f"{PATH}/{target_id}/{action}"
        assert address in Page(signed_in.get(PATH)).links
        assert signed_in.get(address).status_code == 200
        assert [row.enabled for row in stored(acme)] == [not is_enabled]
        assert led_to(post(signed_in, address)) == PATH
        assert [row.enabled for row in stored(acme)] == [is_enabled]
        if not is_enabled:
            refused = post(signed_in, f"{PATH}/{target_id}/test")
            assert (refused.status_code, "disabled; enable it first." in refused.text) == (409, True)
    assert post(signed_in, f"{PATH}/{target_id}/delete").status_code == 303
    assert stored(acme) == []
    assert post(signed_in, f"{PATH}/{target_id}/delete").status_code == 404


def test_creates_a_target_and_shows_its_key_once(signed_in: FlaskClient, acme: Agent) -> None:
    assert "nobody gets alerts" in signed_in.get(PATH).text
    response = post(signed_in, f"{PATH}/new", **(FORM | {"name": " on-call ", "kinds": ["spike", "silence"]}))
    [row] = stored(acme)
    assert (row.name, row.type, row.kinds, row.enabled) == ("on-call", "webhook", ["spike", "silence"], True)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.text.count("whsec_") == 1
    assert "whsec_" not in signed_in.get(PATH).text
    other = FORM | {"name": "other", "type": "alertmanager", "url": "https://alerts.example"}
    assert led_to(post(signed_in, f"{PATH}/new", **other)) == PATH


def test_says_that_nothing_sends_alerts(signed_in: FlaskClient, acme: Agent, target_id: UUID, clock: Clock) -> None:
    def result() -> str:
        [row] = Page(signed_in.get(PATH)).table("Alerts")
        return row[3]

    assert post(signed_in, f"{PATH}/{target_id}/test").status_code == 303
    assert result() == "waiting"
    clock.advance(seconds=61)
    assert result() == "not sent, because the command that sends alerts is late or not running: agentidp watch"
    # A disabled target gets nothing, whether or not alerts are sent.
    assert post(signed_in, f"{PATH}/{target_id}/disable").status_code == 303
    assert result() == "waiting"


def test_failing_targets_are_first(signed_in: FlaskClient, acme: Agent, target_id: UUID) -> None:
    names = [f"target {number}" for number in range(3)]
    ids = [make_alert_target(acme.services, acme.organization_id, name) for name in names]
    fail(acme, ids[-1], ids[-1], "no connection")
    first_name, *other_names = [row[0] for row in Page(signed_in.get(PATH)).table("Alert targets")]
    assert (first_name, sorted(other_names)) == ("target 2 fails", ["<on-call>", *names[:-1]])
