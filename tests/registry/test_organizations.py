"""``/api/v1/organization``."""

from __future__ import annotations

from typing import Any

import pytest

from agentidp.registry.organizations import MAX_BUDGET, MAX_DORMANCY, MIN_DORMANCY
from tests.factories import Api

BUDGET = f"must be a whole number from 1 to {MAX_BUDGET}, or null"


def organization_of(api: Api) -> dict[str, Any]:
    organization: dict[str, Any] = api.get("organization").json
    return organization


def test_shows_the_callers_own_organization(acme: Api, outsider: Api) -> None:
    assert organization_of(acme) == {
        "organizationId": acme.agent.organization_id,
        "name": "Acme",
        "monthlyTokenBudget": None,
        "status": "active",
        "createdAt": "2026-04-15T12:00:00.000000Z",
        "suspendDormantAfterDays": None,
        "agentProvisioning": False,
    }
    assert organization_of(outsider)["name"] == "Outsider"


@pytest.mark.parametrize(
    ("member", "values"),
    [
        ("name", ["Acme Inc", "Acme"]),
        ("monthlyTokenBudget", [1, 250_000, MAX_BUDGET, None]),
        ("suspendDormantAfterDays", [MIN_DORMANCY, MAX_DORMANCY, None]),
    ],
)
def test_a_member_is_changed_and_recorded_and_nothing_else_is(
    acme: Api, outsider: Api, member: str, values: list[Any]
) -> None:
    acme.patch("organization", {"monthlyTokenBudget": 7, "suspendDormantAfterDays": 100})
    organization, of_others = organization_of(acme), organization_of(outsider)
    for value in values:
        was = organization_of(acme)[member]
        changed = acme.patch("organization", {member: value})
        assert (changed.status_code, changed.json) == (200, organization | {member: value})
        assert organization_of(acme) == changed.json
        event = acme.last_event()
        assert (event["action"], event["before"], event["after"]) == (
            "organization.changed",
            {member: was},
            {member: value},
        )
    assert organization_of(outsider) == of_others


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({}, {"body": ["must name something to change"]}),
        ({"monthlyTokenBudget": 5, "status": "suspended"}, {"status": ["Unknown field."]}),
        (
            {"monthlyTokenBudget": 0, "name": ""},
            {"monthlyTokenBudget": [BUDGET], "name": ["must have 1 to 100 characters"]},
        ),
    ],
)
def test_what_is_refused_changes_nothing(acme: Api, body: dict[str, Any], details: dict[str, list[str]]) -> None:
    organization = organization_of(acme)
    response = acme.patch("organization", body)
    assert (response.status_code, response.json["details"]) == (400, details)
    assert organization_of(acme) == organization
