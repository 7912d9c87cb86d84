"""``/api/v1/organization``."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.registry.organizations import MAX_DORMANCY, MIN_DORMANCY
from tests.conftest import Cast
from tests.factories import Agent

ORGANIZATION = "/api/v1/organization"
RULE = "must be a whole number from 1 to 1000000000000, or null"


def organization_of(client: FlaskClient, agent: Agent) -> dict[str, Any]:
    """What the API says to the agent about its organization."""
    response = client.get(ORGANIZATION, headers=agent.bearer(scope="agents:read"))
    assert response.status_code == 200
    found: dict[str, Any] = response.json
    return found


def test_shows_the_callers_own_organization(client: FlaskClient, cast: Cast) -> None:
    assert organization_of(client, cast.acme) == {
        "organizationId": cast.acme.organization_id,
        "name": "Acme",
        "monthlyTokenBudget": None,
        "status": "active",
        "createdAt": "2026-04-15T12:00:00.000000Z",
        "suspendDormantAfterDays": None,
        "agentProvisioning": False,
    }
    assert organization_of(client, cast.outsider)["name"] == "Outsider"


@pytest.mark.parametrize("budget", [1, 250_000, 1_000_000_000_000])
def test_a_budget_is_set_and_removed_and_no_other_organizations_changes(
    client: FlaskClient, cast: Cast, budget: int
) -> None:
    before = organization_of(client, cast.acme), organization_of(client, cast.outsider)
    set_ = client.patch(ORGANIZATION, json={"monthlyTokenBudget": budget}, headers=cast.acme.bearer())
    assert (set_.status_code, set_.json) == (200, before[0] | {"monthlyTokenBudget": budget})
    assert organization_of(client, cast.acme) == set_.json
    assert organization_of(client, cast.outsider) == before[1]
    removed = client.patch(ORGANIZATION, json={"monthlyTokenBudget": None}, headers=cast.acme.bearer())
    assert (removed.status_code, removed.json) == (200, before[0])
    assert organization_of(client, cast.acme) == before[0]


@pytest.mark.parametrize("days", [MIN_DORMANCY, MAX_DORMANCY])
def test_the_suspension_of_dormant_agents_is_set_recorded_and_removed(
    client: FlaskClient, cast: Cast, days: int
) -> None:
    before = organization_of(client, cast.acme), organization_of(client, cast.outsider)
    for value, was in ((days, None), (None, days)):
        changed = client.patch(ORGANIZATION, json={"suspendDormantAfterDays": value}, headers=cast.acme.bearer())
        assert (changed.status_code, changed.json) == (200, before[0] | {"suspendDormantAfterDays": value})
        [event] = client.get("/api/v1/audit?limit=1", headers=cast.acme.bearer()).json["data"]
        assert (event["action"], event["before"], event["after"]) == (
            "organization.changed",
            {"suspendDormantAfterDays": was},
            {"suspendDormantAfterDays": value},
        )
    assert organization_of(client, cast.outsider) == before[1]


@pytest.mark.parametrize(
    "budget",
    ["0", "-1", "1000000000001", "9" * 40, "1.0", "1.5", "1e3", "true", "false", '"5"', '""', "[5]", "{}"],
)
def test_anything_but_a_whole_json_number_is_refused_and_changes_nothing(
    client: FlaskClient, cast: Cast, budget: str
) -> None:
    client.patch(ORGANIZATION, json={"monthlyTokenBudget": 7}, headers=cast.acme.bearer())
    response = client.patch(
        ORGANIZATION,
        data=f'{{"monthlyTokenBudget": {budget}}}',
        content_type="application/json",
        headers=cast.acme.bearer(),
    )
    assert response.status_code == 400
    assert response.json == {
        "code": "VALIDATION_ERROR",
        "message": "The request is not valid.",
        "details": {"monthlyTokenBudget": [RULE]},
    }
    assert organization_of(client, cast.acme)["monthlyTokenBudget"] == 7


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({}, {"body": ["must name something to change"]}),
        ({"monthlyTokenBudget": 5, "status": "suspended"}, {"status": ["Unknown field."]}),
        ({"monthlyTokenBudget": 5, "name": ""}, {"name": ["must have 1 to 100 characters"]}),
    ],
)
def test_only_the_name_and_the_budget_can_be_changed(
    client: FlaskClient, cast: Cast, body: dict[str, Any], details: dict[str, list[str]]
) -> None:
    response = client.patch(ORGANIZATION, json=body, headers=cast.acme.bearer())
    assert (response.status_code, response.json["details"]) == (400, details)
    assert organization_of(client, cast.acme)["monthlyTokenBudget"] is None


def test_the_name_is_changed_and_the_budget_stays(client: FlaskClient, cast: Cast) -> None:
    client.patch(ORGANIZATION, json={"monthlyTokenBudget": 7}, headers=cast.acme.bearer())
    before = organization_of(client, cast.acme), organization_of(client, cast.outsider)
    renamed = client.patch(ORGANIZATION, json={"name": "Acme Inc"}, headers=cast.acme.bearer())
    assert (renamed.status_code, renamed.json) == (200, before[0] | {"name": "Acme Inc"})
    assert (organization_of(client, cast.acme), organization_of(client, cast.outsider)) == (renamed.json, before[1])
