"""``/api/v1/quotas`` and ``/api/v1/agents/{agentId}/quotas``. What quotas do is in ``tests/test_quotas.py``."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from agentidp.oauth.quota_windows import WINDOWS
from agentidp.registry import quotas
from agentidp.registry.quotas import MAX_TOKENS, MIN_TOKENS
from tests.citus import WATCHES_THE_COORDINATOR
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, Agent, Api

BOUNDS = {
    "hour": ("2026-04-15T12:00:00.000000Z", "2026-04-15T13:00:00.000000Z"),
    "day": ("2026-04-15T00:00:00.000000Z", "2026-04-16T00:00:00.000000Z"),
    "month": ("2026-04-01T00:00:00.000000Z", "2026-05-01T00:00:00.000000Z"),
}
RULE = f"must be a whole number from {MIN_TOKENS} to {MAX_TOKENS}"


def quota(window: str, tokens: int, *, enforce: bool = True) -> dict[str, Any]:
    """Return the JSON of a quota without issued tokens."""
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


def put(api: Api, path: str, tokens: int = 10, *, enforce: bool = True) -> Any:
    return api.put(path, {"tokens": tokens, "enforce": enforce})


@ON_CITUS_TOO
def test_the_quotas_of_an_agent_and_of_the_organization(acme: Api, outsider: Api, worker: Agent) -> None:
    of_agent, of_organization = f"agents/{acme.agent.client_id}/quotas", "quotas"
    for window in reversed(WINDOWS):
        response = put(acme, f"{of_agent}/{window}", MAX_TOKENS, enforce=False)
        assert (response.status_code, response.json) == (200, quota(window, MAX_TOKENS, enforce=False))
        response = put(acme, f"{of_organization}/{window}", MIN_TOKENS)
        assert (response.status_code, response.json) == (200, quota(window, MIN_TOKENS))
    assert acme.get(of_agent).json == {
        "agentId": acme.agent.client_id,
        "data": [quota(window, MAX_TOKENS, enforce=False) for window in WINDOWS],
    }
    assert acme.get(of_organization).json == {"data": [quota(window, MIN_TOKENS) for window in WINDOWS]}
    assert outsider.get(of_organization).json == {"data": []}
    assert acme.get(f"agents/{worker.client_id}/quotas").json["data"] == []
    for path in (of_agent, of_organization):
        assert [acme.delete(f"{path}/day").status_code for _ in range(2)] == [204, 404]
        assert [quota_of_agent["window"] for quota_of_agent in acme.get(path).json["data"]] == ["hour", "month"]


@ON_CITUS_TOO
def test_those_of_all_agents_are_listed_page_by_page(acme: Api, outsider: Api) -> None:
    agents = [acme.agent.colleague(f"agent {number}") for number in range(4)]
    expected = []
    for agent in sorted(agents, key=lambda agent: agent.agent_id):
        number = agents.index(agent)
        for window in WINDOWS[number:]:
            put(acme, f"agents/{agent.client_id}/quotas/{window}")
            expected.append(quota(window, 10) | {"agentId": agent.client_id, "agentName": f"agent {number}"})
    # The list excludes quotas of the organization, of a deleted agent and of another organization.
    put(acme, "quotas/day")
    deleted = acme.agent.colleague("deleted")
    put(acme, f"agents/{deleted.client_id}/quotas/day")
    acme.delete(f"agents/{deleted.client_id}")
    for limit in (1, 2, len(expected) - 1, len(expected), 100):
        listed, query = [], {"limit": limit}
        while True:
            page = acme.get("agents/quotas", **query).json
            assert len(page["data"]) == min(limit, len(expected) - len(listed))
            listed += page["data"]
            query["cursor"] = page["nextCursor"]
            if page["nextCursor"] is None:
                break
        assert listed == expected
    assert outsider.get("agents/quotas").json == {"data": [], "nextCursor": None}
    agents[0].count(NOON, tokens=3)
    used = {row["window"]: row["used"] for row in acme.get("agents/quotas").json["data"] if row["used"]}
    assert used == {"hour": 3, "day": 3, "month": 3}


@pytest.mark.parametrize("cursor", ["", ".", "x.day", f"{uuid.UUID(int=1)}.week", str(uuid.UUID(int=1)), "\0"])
def test_a_wrong_cursor_is_refused(acme: Api, cursor: str) -> None:
    response = acme.get("agents/quotas", cursor=cursor)
    rule = "must be the nextCursor of an earlier response"
    assert (response.status_code, response.json["details"]) == (400, {"cursor": [rule]})


def test_changes_are_in_the_audit_trail(acme: Api) -> None:
    agent_id, organization_id = acme.agent.client_id, acme.agent.organization_id
    day, hour = f"agents/{agent_id}/quotas/day", "quotas/hour"
    for tokens, enforce in ((10, False), (20, False), (20, False), (20, True)):
        put(acme, day, tokens, enforce=enforce)
    put(acme, hour, 5)
    acme.delete(day)
    acme.delete(hour)
    of_day = [{"day": {"tokens": tokens, "enforce": is_}} for tokens, is_ in ((10, False), (20, False), (20, True))]
    of_hour = {"hour": {"tokens": 5, "enforce": True}}
    events = [event for event in acme.get("audit").json["data"] if event["action"].startswith("quota.")]
    assert [(event["action"], event["subject"], event["before"], event["after"]) for event in reversed(events)] == [
        ("quota.changed", agent_id, None, of_day[0]),
        ("quota.changed", agent_id, of_day[0], of_day[1]),
        ("quota.changed", agent_id, of_day[1], of_day[2]),
        ("quota.changed", organization_id, None, of_hour),
        ("quota.deleted", agent_id, of_day[2], None),
        ("quota.deleted", organization_id, of_hour, None),
    ]


def test_a_wrong_body_is_refused(acme: Api) -> None:
    for body, details in (
        ({"tokens": MAX_TOKENS + 1, "enforce": "true"}, {"tokens": [RULE], "enforce": ["must be true or false"]}),
        ({}, {name: ["Missing data for required field."] for name in ("tokens", "enforce")}),
    ):
        assert acme.put("quotas/day", body).json["details"] == details
    assert acme.get("quotas").json == {"data": []}


@pytest.mark.parametrize("path", ["quotas/week", "quotas/Day", "agents/{}/quotas/minute"])
def test_there_is_no_other_window(acme: Api, path: str) -> None:
    path = path.format(acme.agent.client_id)
    assert (put(acme, path).status_code, acme.delete(path).status_code) == (404, 404)


@pytest.mark.parametrize("whose", ["the organization's", "another organization's", "a deleted one's"])
def test_only_agents_of_the_organization_have_quotas(acme: Api, cast: Cast, worker: Agent, whose: str) -> None:
    """The table stores the organization as the nil UUID, which must not be accepted as an agent's id."""
    put(acme, "quotas/day")
    put(acme, f"agents/{worker.client_id}/quotas/day")
    acme.delete(f"agents/{worker.client_id}")
    ids = {"the organization's": uuid.UUID(int=0), "another organization's": cast.outsider.agent_id}
    path = f"agents/{ids.get(whose, worker.agent_id)}/quotas"
    for response in (acme.get(path), put(acme, f"{path}/day"), acme.delete(f"{path}/day")):
        assert response.status_code == 404


@WATCHES_THE_COORDINATOR
def test_a_change_waits_for_tokens_that_are_being_issued(
    acme: Api, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a token was decided by the earlier quota, and must be counted before the change ends."""
    monkeypatch.setattr(quotas, "LOCK_TIMEOUT", "10ms")
    with psycopg.connect(database_url) as issuing:
        lock = "select pg_advisory_xact_lock_shared(hashtext(%s::text), 16)"
        issuing.execute(lock, [acme.agent.organization_id])
        assert put(acme, "quotas/day").status_code == 503
    assert put(acme, "quotas/day").status_code == 200
