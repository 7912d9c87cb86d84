"""Why requests of an agent failed to authenticate: the API, the command, the page."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from agentidp.analytics.agent_rejections import NEXT_STEPS
from agentidp.clock import utc_now
from agentidp.http.schemas import timestamp
from agentidp.services import Services
from tests.analytics.oracle import USAGE
from tests.cli.command import Command
from tests.conftest import Cast
from tests.dashboard.conftest import Page, sign_in
from tests.factories import NOON, execute
from tests.test_rejections import reject

DAY = timedelta(days=1)


def test_are_shown_per_day_reason_and_network_newest_day_first(
    client: FlaskClient, services: Services, cast: Cast, database_url: str
) -> None:
    acme = cast.acme
    reject(services, acme, "192.0.2.0/24", NOON - DAY)
    reject(services, acme, "192.0.2.0/24", NOON - DAY + timedelta(hours=1))
    # A server whose clock is behind does not move the last instant back.
    reject(services, acme, "192.0.2.0/24", NOON - DAY)
    reject(services, acme, "unknown", NOON, "expired credential")
    # A row of release 1.0.0.
    reject(services, acme, "unknown", NOON - 2 * DAY)
    execute(database_url, "update rejected_networks set last_rejected_at = null where day = '2026-04-13'")
    # Excluded: another day, another agent, another organization.
    reject(services, acme, "192.0.2.0/24", NOON - 3 * DAY)
    reject(services, acme.colleague(), "192.0.2.0/24")
    reject(services, cast.outsider, "192.0.2.0/24")
    path = f"{USAGE}/{acme.agent_id}/rejections"
    response = client.get(f"{path}?days=3", headers=acme.bearer())
    wrong, expired = NEXT_STEPS["wrong secret"], NEXT_STEPS["expired credential"]
    rows = [
        ("2026-04-15", "expired credential", "unknown", 1, "2026-04-15T12:00:00.000000Z", expired),
        ("2026-04-14", "wrong secret", "192.0.2.0/24", 3, "2026-04-14T13:00:00.000000Z", wrong),
        ("2026-04-13", "wrong secret", "unknown", 1, None, wrong),
    ]
    names = ("date", "reason", "network", "count", "lastAt", "nextStep")
    assert response.json == {
        "tenantId": acme.organization_id,
        "agentId": acme.client_id,
        "from": "2026-04-13",
        "to": "2026-04-15",
        "data": [dict(zip(names, row, strict=True)) for row in rows],
    }
    assert client.get(path, headers=cast.outsider.bearer()).status_code == 404
    quiet = acme.colleague("quiet")
    assert client.get(f"{USAGE}/{quiet.agent_id}/rejections", headers=acme.bearer()).json["data"] == []


def test_the_page_of_the_agent_says_what_to_do(client: FlaskClient, services: Services, cast: Cast) -> None:
    reject(services, cast.acme, "192.0.2.0/24", NOON, "expired credential")
    # The chart counts what the agent's counters have.
    cast.acme.count(NOON, rejected=1)
    sign_in(client, cast.acme)
    text = Page(client.get(f"/dashboard/agents/{cast.acme.agent_id}")).text
    for expected in ("expired credential", "192.0.2.0/24", NEXT_STEPS["expired credential"]):
        assert expected in text


@pytest.mark.usefixtures("quiet")
def test_the_command_prints_those_of_the_last_days(services: Services, cast: Cast, database_url: str) -> None:
    run, now, acme = Command(database_url), utc_now(), cast.acme
    for days in (0, 1, 7):
        reject(services, acme, "192.0.2.0/24", now - days * DAY)
    rejections = run.json("agent", "rejections", acme.client_id, "--days", "2")
    assert [(row["date"], row["count"]) for row in rejections] == [
        (f"{(now - days * DAY).date()}", 1) for days in (0, 1)
    ]
    [cells, _] = run.cells("agent", "rejections", acme.client_id, "--days", "2")
    step = NEXT_STEPS["wrong secret"]
    assert cells == [f"{now.date()}", "wrong secret", "192.0.2.0/24", "1", timestamp(now), step]
