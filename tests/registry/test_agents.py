"""``/api/v1/agents``."""

from __future__ import annotations

import base64
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import marshmallow as ma
import psycopg
import pytest
from flask.testing import FlaskClient

from agentidp.http.schemas import MAX_NAME
from agentidp.registry import quotas
from agentidp.registry.agents import MAX_DESCRIPTION, MAX_REPLICAS, MIN_REPLICAS, AgentChangeSchema
from agentidp.registry.cursor import encode_cursor
from agentidp.scopes import SCOPES
from agentidp.services import Services
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NEW_AGENT, NOON, PATIENCE, WAITING, Agent, Api, Clock, execute, wait_until
from tests.helpers.introspection import introspect
from tests.registry.conftest import NOT_FOUND
from tests.routes import SUSPENDED_AGENT


def create(api: Api, **body: Any) -> dict[str, Any]:
    response = api.post("agents", body)
    assert response.status_code == 201, response.text
    agent: dict[str, Any] = response.json
    return agent


def test_created_with_a_name_alone(acme: Api) -> None:
    response = acme.post("agents", {"name": "crawler"})
    agent_id = response.json["agentId"]
    assert uuid.UUID(agent_id).version == 4
    assert (response.status_code, response.json) == (
        201,
        {
            "agentId": agent_id,
            "name": "crawler",
            "description": "",
            "scopes": ["analytics:read", "agents:read"],
            "status": "active",
            "dpopBoundAccessTokens": False,
            "createdAt": "2026-04-15T12:00:00.000000Z",
            "updatedAt": "2026-04-15T12:00:00.000000Z",
            "owner": "",
            "expectedReplicas": None,
            "suspendsAt": None,
            "tokensNotBefore": None,
            "provisioned": None,
            "redirectUris": [],
            "clientUri": None,
        },
    )
    assert response.headers["Location"] == f"/api/v1/agents/{agent_id}"
    read_back = acme.get(response.headers["Location"])
    assert (read_back.status_code, read_back.json) == (200, response.json)


def test_created_as_the_request_says(acme: Api) -> None:
    body = {
        "name": "🚀" * MAX_NAME,
        "description": f"first line\nsecond\tline {'é' * (MAX_DESCRIPTION - 23)}",
        "scopes": ["agents:write"],
        "owner": "Team A",
        "dpopBoundAccessTokens": True,
        "expectedReplicas": MAX_REPLICAS,
        "redirectUris": ["https://app.example/callback", "http://127.0.0.1/"],
    }
    assert body.items() <= create(acme, **body).items()


@pytest.mark.parametrize(
    ("member", "value", "rule"),
    [
        ("name", "", "must have 1 to 100 characters"),
        ("description", "x" * (MAX_DESCRIPTION + 1), "must have 0 to 1000 characters"),
        ("owner", "x\u202ey", "must not contain U+202E"),
        ("scopes", ["a b"], "must be 1 to 100 printable ASCII characters without blank, quote and backslash"),
        ("scopes", ["a", "a"], "must not name a scope twice"),
        ("scopes", [f"{number}" for number in range(51)], "must not name more than 50 scopes"),
        ("status", "deleted", "must be one of active, suspended"),
        ("redirectUris", ["https://a.example#b"], "must be an https URL, http on this computer, or scheme:/…"),
        ("redirectUris", ["https://a.example"] * 2, "must not name a redirect URI twice"),
        ("redirectUris", [f"https://a.example/{n}" for n in range(51)], "must not name more than 50 redirect URIs"),
        ("dpopBoundAccessTokens", "true", "must be true or false"),
        ("expectedReplicas", MIN_REPLICAS - 1, "must be a whole number from 1 to 10000, or null"),
        ("expectedReplicas", MAX_REPLICAS + 1, "must be a whole number from 1 to 10000, or null"),
        ("provisioned", None, "Unknown field."),
    ],
)
def test_refused_whatever_way_it_comes(member: str, value: object, rule: str) -> None:
    with pytest.raises(ma.ValidationError) as refused:
        AgentChangeSchema().load({member: value})
    assert rule in str(refused.value.messages_dict[member])


@ON_CITUS_TOO
def test_a_name_is_that_of_one_agent_until_it_is_deleted(acme: Api) -> None:
    first = create(acme, name="Twin")
    assert create(acme, name="twin")["agentId"] != first["agentId"]
    names = listed(acme)
    body = {"code": "CONFLICT", "message": "Another agent has this name.", "details": {"name": ["is taken"]}}
    refused = acme.post("agents", {"name": "Twin"})
    assert (refused.status_code, refused.json) == (409, body)
    assert listed(acme) == names
    # An agent may be renamed to its present name.
    assert acme.patch(f"agents/{first['agentId']}", {"name": "Twin"}).status_code == 200
    acme.delete(f"agents/{first['agentId']}")
    assert create(acme, name="Twin")["agentId"] != first["agentId"]


def test_an_organization_has_at_most_so_many_deleted_ones_not_counted(
    acme: Api, outsider: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acme has one agent. The agents of the other organization do not count."""
    for number in range(3):
        outsider.agent.colleague(f"agent {number}")
    limited = replace(services, settings=replace(services.settings, max_agents=2))
    with monkeypatch.context() as patch:
        patch.setitem(acme.client.application.extensions, "agentidp", limited)
        second = create(acme, name="two")
        refused = acme.post("agents", {"name": "three"})
        message = "The organization has 2 agents, which is the maximum; delete one first."
        assert (refused.status_code, refused.json) == (409, {"code": "CONFLICT", "message": message, "details": {}})
        acme.delete(f"agents/{second['agentId']}")
        create(acme, name="four")
    # The refused request left no row, for example no client.
    create(acme, name="three")


def listed(api: Api, **query: Any) -> list[str]:
    """Return the names on a page of the list."""
    response = api.get("agents", **query)
    assert response.status_code == 200, response.text
    return [agent["name"] for agent in response.json["data"]]


def walk(api: Api, limit: int, between: Any = lambda: None) -> list[list[str]]:
    """Return the names on each page, and call a function between two pages."""
    pages, query = [], {"limit": limit}
    while True:
        page = api.get("agents", **query).json
        pages.append([agent["name"] for agent in page["data"]])
        if page["nextCursor"] is None:
            return pages
        query["cursor"] = page["nextCursor"]
        assert len(pages) < 50, "it comes to an end"
        between()


class TestList:
    @ON_CITUS_TOO
    def test_whole(self, acme: Api, clock: Clock) -> None:
        clock.advance(seconds=1)
        second = create(acme, name="second")
        first = acme.get(f"agents/{acme.agent.agent_id}").json
        response = acme.get("agents")
        assert (response.status_code, response.json) == (200, {"data": [first, second], "nextCursor": None})

    def test_filters_by_the_exact_name_and_owner(self, acme: Api, outsider: Api, clock: Clock) -> None:
        for name, owner in (("crawler", "web"), ("indexer", "web"), ("crawler-2", "Web")):
            clock.advance(seconds=1)
            create(acme, name=name, owner=owner)
        create(outsider, name="scout", owner="web")
        assert listed(acme, name="crawler") == ["crawler"]
        assert listed(acme, name="scout") == []
        assert listed(acme, owner="web") == ["crawler", "indexer"]
        assert listed(acme, owner="") == ["builder"]
        assert listed(acme, owner="Web", name="crawler") == []
        first = acme.get("agents", owner="web", limit=1).json
        assert listed(acme, owner="web", limit=1, cursor=first["nextCursor"]) == ["indexer"]

    def test_in_pages(self, acme: Api, clock: Clock) -> None:
        for number in range(6):
            clock.advance(seconds=number % 2)  # Two at a time are made at the same instant.
            create(acme, name=f"{number}")
        everything = listed(acme)
        assert len(everything) == 7
        for limit in (1, 2, 3, 6, 7, 8, 100):
            pages = walk(acme, limit)
            assert [name for page in pages for name in page] == everything
            assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
            assert 1 <= len(pages[-1]) <= limit

    def test_no_page_shifts_where_agents_come_and_go(self, acme: Api, clock: Clock) -> None:
        ids = {}
        for name in "abcdef":
            clock.advance(seconds=1)
            ids[name] = create(acme, name=name)["agentId"]
        new, doomed = iter("ghijklmnop"), iter("acf")

        def come_and_go() -> None:
            clock.advance(seconds=1)
            if (name := next(doomed, None)) is not None:
                # a and c are on an earlier page, f is on a later page.
                acme.delete(f"agents/{ids[name]}")
                create(acme, name=next(new))

        assert walk(acme, 2, come_and_go) == [["builder", "a"], ["b", "c"], ["d", "e"], ["g", "h"], ["i"]]

    def test_has_50_on_a_page_unless_told_otherwise(self, acme: Api) -> None:
        for number in range(51):
            create(acme, name=f"{number}")
        assert [len(listed(acme, **query)) for query in ({}, {"limit": 100}, {"limit": 1})] == [50, 52, 1]

    @pytest.mark.parametrize("limit", ["0", "101", "+5"])
    def test_limit_is_from_1_to_100(self, acme: Api, limit: str) -> None:
        response = acme.get("agents", limit=limit)
        rule = "must be a whole number from 1 to 100"
        assert (response.status_code, response.json["details"]) == (400, {"limit": [rule]})

    @pytest.mark.parametrize(
        "cursor",
        [
            *("", "é", "====", "a" * 5000),
            *(
                base64.urlsafe_b64encode(text).decode()
                for text in (
                    b"no cursor",
                    b"\xff\xfe \xff",
                    b"2026-04-15T12:00:00 00000000-0000-4000-8000-000000000000",
                    b"2026-04-15T12:00:00+00:00 00000000-0000-4000-8000-000000000000 x",
                    b"9999-12-31T23:59:59-23:59 00000000-0000-4000-8000-000000000000",
                    b"2026-04-15T12:00:00+00:00 1' or '1'='1",
                )
            ),
        ],
    )
    def test_a_cursor_that_is_not_ours(self, acme: Api, cursor: str) -> None:
        response = acme.get("agents", cursor=cursor)
        rule = "must be the nextCursor of an earlier response"
        assert (response.status_code, response.json["details"]) == (400, {"cursor": [rule]})

    def test_a_cursor_shows_nothing_of_another_organization(self, acme: Api, outsider: Api) -> None:
        cursor = encode_cursor(NOON.replace(year=1970), acme.agent.agent_id)
        assert listed(outsider, cursor=cursor) == ["builder"]


class TestChange:
    @pytest.mark.parametrize(
        "change",
        [
            {"name": "renamed"},
            {"description": "described"},
            {"owner": "Team A, +49 30 1234"},
            {"scopes": []},
            {"status": "suspended"},
            {"dpopBoundAccessTokens": True},
            {"expectedReplicas": MIN_REPLICAS},
            {"name": "all", "scopes": ["agents:write", "agents:read"], "expectedReplicas": None},
        ],
    )
    def test_changes_what_is_named_and_nothing_else(self, acme: Api, clock: Clock, change: dict[str, Any]) -> None:
        agent = create(acme, name="before", description="before", expectedReplicas=12)
        clock.advance(minutes=1)
        path = f"agents/{agent['agentId']}"
        response = acme.patch(path, change)
        expected = agent | change | {"updatedAt": "2026-04-15T12:01:00.000000Z"}
        assert (response.status_code, response.json) == (200, expected)
        assert acme.get(path).json == expected
        event = acme.last_event()
        assert (event["action"], event["before"], event["after"]) == (
            "agent.changed",
            {member: agent[member] for member in change},
            change,
        )


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_what_is_not_there_or_deleted(acme: Api, worker: Agent, method: str) -> None:
    assert acme.delete(f"agents/{worker.agent_id}").status_code == 204
    for agent_id in (worker.agent_id, uuid.uuid4(), uuid.UUID(int=0)):
        response = acme.send(method, f"agents/{agent_id}", {"name": "x"} if method == "PATCH" else None)
        assert (response.status_code, response.json) == (404, NOT_FOUND)


class TestSuspendedOrDeleted:
    """A suspended or deleted agent gets no token, and its issued tokens stop working at once."""

    @pytest.mark.parametrize("how", ["suspended", "deleted"])
    def test_gets_no_token_and_its_own_is_refused(
        self, client: FlaskClient, acme: Api, worker: Agent, how: str
    ) -> None:
        its, path = Api(client, worker), f"agents/{worker.agent_id}"
        live = {"Authorization": f"Bearer {its.token().json['access_token']}"}
        assert client.get("/api/v1/agents", headers=live).status_code == 200
        stopped = acme.delete(path) if how == "deleted" else acme.patch(path, {"status": how})
        assert stopped.status_code in (200, 204)
        refused = its.token()
        assert (refused.status_code, refused.json["error"]) == (401, "invalid_client")
        response = client.post("/api/v1/agents", json={"name": "late"}, headers=live)
        message = {
            "suspended": SUSPENDED_AGENT["message"],
            "deleted": "The agent of the access token was deleted. Use another agent.",
        }[how]
        assert (response.status_code, response.json) == (401, SUSPENDED_AGENT | {"message": message})
        assert "late" not in listed(acme)
        if how == "suspended":
            assert acme.patch(path, {"status": "active"}).status_code == 200
            assert (client.get("/api/v1/agents", headers=live).status_code, its.token().status_code) == (200, 200)

    def test_may_stop_itself(self, acme: Api) -> None:
        path = f"agents/{acme.agent.agent_id}"
        assert [acme.delete(path).status_code for _ in range(2)] == [204, 401]

    def test_what_a_deleted_agent_did_is_still_counted(self, acme: Api, worker: Agent) -> None:
        worker.count(NOON, tokens=5)
        acme.delete(f"agents/{worker.agent_id}")
        event = acme.last_event()
        assert (event["action"], event["subject"], event["after"]) == ("agent.deleted", worker.client_id, None)
        assert event["before"] == NEW_AGENT | {"name": "worker", "scopes": list(SCOPES)}
        assert acme.get("analytics/agents").json["data"] == [{"agentId": worker.client_id, "tokenCount": 5}]
        assert acme.get("analytics/tokens", days=1).json["data"] == [{"date": "2026-04-15", "count": 5}]


def test_ends_all_tokens_that_were_issued_before_now(
    client: FlaskClient, acme: Api, worker: Agent, clock: Clock
) -> None:
    clock.now = NOON + timedelta(milliseconds=1500)
    tokens = [worker.token(at=NOON), worker.token(), worker.token(at=NOON + timedelta(seconds=2))]

    def states() -> list[tuple[int, bool]]:
        paths = [client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"}) for token in tokens]
        active = [introspect(client, acme.agent, token).json["active"] for token in tokens]
        return [(response.status_code, is_active) for response, is_active in zip(paths, active, strict=True)]

    assert states() == [(200, True)] * 3
    assert acme.delete(f"agents/{worker.agent_id}/tokens").status_code == 204
    assert states() == [(401, False), (401, False), (200, True)]
    assert acme.get(f"agents/{worker.agent_id}").json["tokensNotBefore"] == "2026-04-15T12:00:02.000000Z"
    event = acme.last_event()
    assert (event["action"], event["subject"]) == ("agent.tokens_ended", worker.client_id)
    # A server whose clock is behind does not make ended tokens valid.
    clock.now = NOON
    assert acme.delete(f"agents/{worker.agent_id}/tokens").status_code == 204
    assert states() == [(401, False), (401, False), (200, True)]
    assert acme.last_event() == event


def test_no_token_survives_that_is_issued_while_tokens_end(
    client: FlaskClient, acme: Api, worker: Agent, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "LOCK_TIMEOUT", f"{PATIENCE}s")
    with psycopg.connect(worker.database_url) as issuing:
        lock = "select pg_advisory_xact_lock_shared(hashtext(%s), 16)"
        issuing.execute(lock, [worker.organization_id])
        with ThreadPoolExecutor() as pool:
            ending = pool.submit(acme.delete, f"agents/{worker.agent_id}/tokens")
            wait_until(lambda: execute(worker.database_url, WAITING))
            clock.advance(seconds=1)
            token = worker.token()
            issuing.commit()
            assert ending.result().status_code == 204
    assert client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_ends_tokens_of_its_own_organization_only(acme: Api, cast: Cast) -> None:
    assert acme.delete(f"agents/{cast.outsider.agent_id}/tokens").status_code == 404
    assert Api(acme.client, cast.outsider).get("agents").status_code == 200
