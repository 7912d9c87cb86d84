"""The form that says when dormant agents are suspended."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from agentidp.registry.organizations import MAX_DORMANCY, MIN_DORMANCY
from agentidp.services import Services
from tests.conftest import Cast
from tests.dashboard.conftest import Page, post, with_session
from tests.factories import Agent, make_agent

PATH = "/dashboard/agents/dormancy"
FIELD = "suspendDormantAfterDays"


def is_set(client: FlaskClient, agent: Agent) -> int | None:
    """What the API says of the agent's organization."""
    days: int | None = client.get("/api/v1/organization", headers=agent.bearer()).json[FIELD]
    return days


def shown(page: Page) -> str:
    """What is in the field."""
    [field] = [one for one in page.all("input") if one["name"] == FIELD]
    return str(field["value"])


def test_sets_it_and_removes_it(signed_in: FlaskClient, cast: Cast) -> None:
    assert {"href": PATH} in Page(signed_in.get("/dashboard/agents")).all("a")
    asked = Page(signed_in.get(PATH))
    assert shown(asked) == ""
    assert "The organization has 1 agent." in asked.text
    for sent, stored in ((str(MIN_DORMANCY), MIN_DORMANCY), (f" {MAX_DORMANCY} ", MAX_DORMANCY), ("", None)):
        response = post(signed_in, PATH, **{FIELD: sent})
        assert (response.status_code, response.headers["Location"]) == (303, "/dashboard/agents")
        assert is_set(signed_in, cast.acme) == stored
        assert shown(Page(signed_in.get(PATH))) == sent.strip()
    assert is_set(signed_in, cast.outsider) is None


@pytest.mark.parametrize("days", [MIN_DORMANCY - 1, "9" * 5000])
def test_a_wrong_number_is_named_and_what_was_typed_is_kept(signed_in: FlaskClient, acme: Agent, days: object) -> None:
    post(signed_in, PATH, **{FIELD: "120"})
    response = post(signed_in, PATH, **{FIELD: str(days)})
    assert response.status_code == 400
    rule = f"must be a whole number from {MIN_DORMANCY} to {MAX_DORMANCY}."
    assert Page(response).notice.strip() == f"The number of days {rule}"
    assert shown(Page(response)) == str(days)
    assert is_set(signed_in, acme) == 120


def test_who_may_not_change_agents_sees_no_link(signed_in: FlaskClient, acme: Agent, services: Services) -> None:
    reader = make_agent(services, acme.organization_id, name="reader", scopes=["analytics:read", "agents:read"])
    with_session(signed_in, reader)
    assert {"href": PATH} not in Page(signed_in.get("/dashboard/agents")).all("a")
