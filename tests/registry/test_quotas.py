"""``/api/v1/quotas`` and ``/api/v1/agents/{agentId}/quotas``. What quotas do is in ``tests/oauth/test_quotas.py``."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.oauth.quotas import WINDOWS
from agentidp.registry.quotas import MAX_TOKENS, MIN_TOKENS
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, Agent, count_usage, make_agent

BOUNDS = {
    "hour": ("2026-04-15T12:00:00.000000Z", "2026-04-15T13:00:00.000000Z"),
    "day": ("2026-04-15T00:00:00.000000Z", "2026-04-16T00:00:00.000000Z"),
    "month": ("2026-04-01T00:00:00.000000Z", "2026-05-01T00:00:00.000000Z"),
}
RULE = f"must be a whole number from {MIN_TOKENS} to {MAX_TOKENS}"


def quota(window: str, tokens: int, *, enforce: bool = True) -> dict[str, Any]:
    """A quota of which nothing was used."""
    starts_at, ends_at = BOUNDS[window]
    return {
        "window": window,
        "tokens": tokens,
        "enforce": enforce,
        "used": 0,
        "left": tokens,
        "refused": 0,
        "observed": 0,
        "startsAt": starts_at,
        "endsAt": ends_at,
    }


def events(client: FlaskClient, agent: Agent) -> list[tuple[str, str, Any, Any]]:
    """What the audit trail has of quotas, oldest first."""
    data = client.get("/api/v1/audit", headers=agent.bearer()).json["data"]
    found = [event for event in reversed(data) if event["action"].startswith("quota.")]
    return [(event["action"], event["subject"], event["before"], event["after"]) for event in found]


@ON_CITUS_TOO
def test_the_quotas_of_an_agent_and_of_the_organization(client: FlaskClient, cast: Cast) -> None:
    agent, headers = cast.acme, cast.acme.bearer()
    of_agent, of_organization = f"/api/v1/agents/{agent.client_id}/quotas", "/api/v1/quotas"
    for window in reversed(WINDOWS):
        body = {"tokens": MAX_TOKENS, "enforce": False}
        response = client.put(f"{of_agent}/{window}", json=body, headers=headers)
        assert (response.status_code, response.json) == (200, quota(window, MAX_TOKENS, enforce=False))
        response = client.put(
            f"{of_organization}/{window}", json={"tokens": MIN_TOKENS, "enforce": True}, headers=headers
        )
        assert (response.status_code, response.json) == (200, quota(window, MIN_TOKENS))
    assert client.get(of_agent, headers=headers).json == {
        "agentId": agent.client_id,
        "data": [quota(window, MAX_TOKENS, enforce=False) for window in WINDOWS],
    }
    assert client.get(of_organization, headers=headers).json == {
        "data": [quota(window, MIN_TOKENS) for window in WINDOWS]
    }
    assert client.get(of_organization, headers=cast.outsider.bearer()).json == {"data": []}
    other = make_agent(agent.services, agent.organization_id, "other")
    assert client.get(f"/api/v1/agents/{other.client_id}/quotas", headers=headers).json["data"] == []
    for path in (of_agent, of_organization):
        assert client.delete(f"{path}/day", headers=headers).status_code == 204
        assert client.delete(f"{path}/day", headers=headers).status_code == 404
        assert [one["window"] for one in client.get(path, headers=headers).json["data"]] == ["hour", "month"]


@ON_CITUS_TOO
def test_those_of_all_agents_are_listed_page_by_page(client: FlaskClient, cast: Cast) -> None:
    acme, headers = cast.acme, cast.acme.bearer()
    agents = [make_agent(acme.services, acme.organization_id, f"agent {number}") for number in range(4)]
    wanted = []
    for agent in sorted(agents, key=lambda agent: agent.agent_id):
        for window in WINDOWS[agents.index(agent) :]:
            body = {"tokens": 10, "enforce": True}
            client.put(f"/api/v1/agents/{agent.client_id}/quotas/{window}", json=body, headers=headers)
            name = f"agent {agents.index(agent)}"
            wanted.append(quota(window, 10) | {"agentId": agent.client_id, "agentName": name})
    # Those of the organization, of a deleted agent and of another organization are not among them.
    client.put("/api/v1/quotas/day", json=body, headers=headers)
    deleted = make_agent(acme.services, acme.organization_id, "deleted")
    client.put(f"/api/v1/agents/{deleted.client_id}/quotas/day", json=body, headers=headers)
    client.delete(f"/api/v1/agents/{deleted.client_id}", headers=headers)
    path = "/api/v1/agents/quotas"
    for limit in (1, 2, len(wanted) - 1, len(wanted), 100):
        found, query = [], f"limit={limit}"
        while True:
            page = client.get(f"{path}?{query}", headers=headers).json
            assert len(page["data"]) == min(limit, len(wanted) - len(found))
            found += page["data"]
            if page["nextCursor"] is None:
                break
            query = f"limit={limit}&cursor={page['nextCursor']}"
        assert found == wanted
    empty = {"data": [], "nextCursor": None}
    assert client.get(path, headers=cast.outsider.bearer()).json == empty
    count_usage(acme.services, acme.organization_id, agents[0].agent_id, NOON, tokens=3)
    used = {one["window"]: one["used"] for one in client.get(path, headers=headers).json["data"] if one["used"]}
    assert used == {"hour": 3, "day": 3, "month": 3}


@pytest.mark.parametrize("cursor", ["", ".", "x.day", f"{uuid.UUID(int=1)}.week", str(uuid.UUID(int=1)), "\0"])
def test_a_wrong_cursor_is_refused(client: FlaskClient, cast: Cast, cursor: str) -> None:
    response = client.get("/api/v1/agents/quotas", query_string={"cursor": cursor}, headers=cast.acme.bearer())
    assert (response.status_code, response.json["details"]) == (
        400,
        {"cursor": ["must be the nextCursor of an earlier response"]},
    )


def test_changes_are_in_the_audit_trail(client: FlaskClient, cast: Cast) -> None:
    agent, headers = cast.acme, cast.acme.bearer()
    day, hour = f"/api/v1/agents/{agent.client_id}/quotas/day", "/api/v1/quotas/hour"
    for tokens, enforce in ((10, False), (20, False), (20, False), (20, True)):
        client.put(day, json={"tokens": tokens, "enforce": enforce}, headers=headers)
    client.put(hour, json={"tokens": 5, "enforce": True}, headers=headers)
    client.delete(day, headers=headers)
    client.delete(hour, headers=headers)
    assert events(client, agent) == [
        ("quota.changed", agent.client_id, None, {"day": {"tokens": 10, "enforce": False}}),
        (
            "quota.changed",
            agent.client_id,
            {"day": {"tokens": 10, "enforce": False}},
            {"day": {"tokens": 20, "enforce": False}},
        ),
        (
            "quota.changed",
            agent.client_id,
            {"day": {"tokens": 20, "enforce": False}},
            {"day": {"tokens": 20, "enforce": True}},
        ),
        ("quota.changed", agent.organization_id, None, {"hour": {"tokens": 5, "enforce": True}}),
        ("quota.deleted", agent.client_id, {"day": {"tokens": 20, "enforce": True}}, None),
        ("quota.deleted", agent.organization_id, {"hour": {"tokens": 5, "enforce": True}}, None),
    ]


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"tokens": MIN_TOKENS - 1, "enforce": True}, {"tokens": [RULE]}),
        ({"tokens": MAX_TOKENS + 1, "enforce": True}, {"tokens": [RULE]}),
        ({"tokens": None, "enforce": True}, {"tokens": [RULE]}),
        ({"tokens": 2.0, "enforce": True}, {"tokens": [RULE]}),
        ({"tokens": True, "enforce": True}, {"tokens": [RULE]}),
        ({"tokens": "10", "enforce": None}, {"tokens": [RULE], "enforce": ["Field may not be null."]}),
        ({}, {name: ["Missing data for required field."] for name in ("tokens", "enforce")}),
        ({"tokens": 1, "enforce": "true"}, {"enforce": ["must be true or false"]}),
        ({"tokens": 1, "enforce": True, "window": "day"}, {"window": ["Unknown field."]}),
    ],
)
def test_a_wrong_body_is_refused(client: FlaskClient, cast: Cast, body: Any, details: Any) -> None:
    response = client.put("/api/v1/quotas/day", json=body, headers=cast.acme.bearer())
    assert (response.status_code, response.json["code"], response.json["details"]) == (
        400,
        "VALIDATION_ERROR",
        details,
    )


@pytest.mark.parametrize("method", ["put", "delete"])
@pytest.mark.parametrize("path", ["/api/v1/quotas/week", "/api/v1/quotas/Day", "/api/v1/agents/{}/quotas/minute"])
def test_there_is_no_other_window(client: FlaskClient, cast: Cast, method: str, path: str) -> None:
    body = {"tokens": 1, "enforce": True} if method == "put" else None
    response = getattr(client, method)(path.format(cast.acme.client_id), json=body, headers=cast.acme.bearer())
    assert response.status_code == 404


@pytest.mark.parametrize("agent", ["00000000-0000-0000-0000-000000000000", "outsider"])
def test_only_agents_of_the_organization_have_quotas(client: FlaskClient, cast: Cast, agent: str) -> None:
    """The nil id stands for the organization in the table, and must not lead to its quotas."""
    client.put("/api/v1/quotas/day", json={"tokens": 1, "enforce": True}, headers=cast.acme.bearer())
    path = f"/api/v1/agents/{cast.outsider.client_id if agent == 'outsider' else agent}/quotas"
    headers = cast.acme.bearer()
    body = {"tokens": 1, "enforce": True}
    assert client.get(path, headers=headers).status_code == 404
    assert client.put(f"{path}/day", json=body, headers=headers).status_code == 404
    assert client.delete(f"{path}/day", headers=headers).status_code == 404


def test_a_deleted_agent_has_no_quotas(client: FlaskClient, cast: Cast) -> None:
    other = make_agent(cast.acme.services, cast.acme.organization_id, "other")
    path, headers = f"/api/v1/agents/{other.client_id}", cast.acme.bearer()
    client.put(f"{path}/quotas/day", json={"tokens": 1, "enforce": True}, headers=headers)
    assert client.delete(path, headers=headers).status_code == 204
    assert client.get(f"{path}/quotas", headers=headers).status_code == 404


def test_who_may_only_read_changes_nothing(client: FlaskClient, cast: Cast) -> None:
    headers = cast.acme.bearer(scope="agents:read agents:write")
    assert client.get("/api/v1/quotas", headers=headers).status_code == 200
    assert client.put("/api/v1/quotas/day", json={"tokens": 1, "enforce": True}, headers=headers).status_code == 403
    assert client.delete("/api/v1/quotas/day", headers=headers).status_code == 403
