"""``/api/v1/agents``."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.http.schemas import MAX_NAME
from agentidp.registry.agents import MAX_DESCRIPTION, MAX_REPLICAS, MIN_REPLICAS
from agentidp.registry.cursor import encode_cursor
from agentidp.services import Services
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NEW_AGENT, Agent, Clock, count_usage, make_agent, usage_sums
from tests.routes import INVALID_TOKEN

NOT_FOUND = {"code": "NOT_FOUND", "message": "There is nothing at this address.", "details": {}}


def create(client: FlaskClient, agent: Agent, **body: Any) -> dict[str, Any]:
    """Register an agent over HTTP and return it."""
    response = client.post("/api/v1/agents", json=body, headers=agent.bearer())
    assert response.status_code == 201, response.text
    assert isinstance(response.json, dict)
    return response.json


def ask_for_token(client: FlaskClient, agent: Agent) -> TestResponse:
    """A token request with the agent's credential."""
    form = {"grant_type": "client_credentials", "client_id": agent.client_id, "client_secret": agent.client_secret}
    return client.post("/api/v1/token", data=form)


class TestCreate:
    """``POST /api/v1/agents``."""

    def test_with_a_name_alone(self, client: FlaskClient, cast: Cast) -> None:
        response = client.post("/api/v1/agents", json={"name": "crawler"}, headers=cast.acme.bearer())
        assert response.status_code == 201
        agent_id = response.json["agentId"]
        assert uuid.UUID(agent_id).version == 4
        assert response.json == NEW_AGENT | {
            "provisioned": None,
            "agentId": agent_id,
            "name": "crawler",
            "scopes": ["analytics:read", "agents:read"],
            "createdAt": "2026-04-15T12:00:00.000000Z",
            "updatedAt": "2026-04-15T12:00:00.000000Z",
            "suspendsAt": None,
        }
        assert response.headers["Location"] == f"/api/v1/agents/{agent_id}"
        read_back = client.get(response.headers["Location"], headers=cast.acme.bearer())
        assert (read_back.status_code, read_back.json) == (200, response.json)

    @ON_CITUS_TOO
    def test_with_everything(self, client: FlaskClient, cast: Cast) -> None:
        body = {"name": "Größe 🚀", "description": "first line\nsecond\tline", "scopes": ["agents:write"]}
        body |= {"owner": "Team A", "dpopBoundAccessTokens": True, "expectedReplicas": 12}
        made = create(client, cast.acme, **body)
        assert body.items() <= made.items()

    def test_with_no_scope_at_all(self, client: FlaskClient, cast: Cast) -> None:
        assert create(client, cast.acme, name="powerless", scopes=[])["scopes"] == []

    @pytest.mark.parametrize("length", [1, MAX_NAME])
    def test_a_name_has_one_character_to_the_maximum(self, client: FlaskClient, cast: Cast, length: int) -> None:
        assert create(client, cast.acme, name="ü" * length)["name"] == "ü" * length

    def test_a_description_may_have_the_maximum_length(self, client: FlaskClient, cast: Cast) -> None:
        longest = "é" * MAX_DESCRIPTION
        assert create(client, cast.acme, name="x", description=longest)["description"] == longest

    def test_a_name_of_a_deleted_agent_is_free_again(self, client: FlaskClient, cast: Cast) -> None:
        first = create(client, cast.acme, name="phoenix")
        client.delete(f"/api/v1/agents/{first['agentId']}", headers=cast.acme.bearer())
        assert create(client, cast.acme, name="phoenix")["agentId"] != first["agentId"]

    def test_names_differ_by_case(self, client: FlaskClient, cast: Cast) -> None:
        assert create(client, cast.acme, name="Twin")["agentId"] != create(client, cast.acme, name="twin")["agentId"]

    @ON_CITUS_TOO
    def test_a_name_that_is_taken_leaves_nothing(self, client: FlaskClient, cast: Cast) -> None:
        create(client, cast.acme, name="taken")
        before = listed(client, cast.acme)
        response = client.post("/api/v1/agents", json={"name": "taken"}, headers=cast.acme.bearer())
        assert (response.status_code, response.json) == (
            409,
            {"code": "CONFLICT", "message": "Another agent has this name.", "details": {"name": ["is taken"]}},
        )
        assert listed(client, cast.acme) == before


def listed(client: FlaskClient, agent: Agent, query: str = "") -> list[str]:
    """The names on one page of the list."""
    response = client.get(f"/api/v1/agents{query}", headers=agent.bearer())
    assert response.status_code == 200, response.text
    assert response.json is not None
    return [found["name"] for found in response.json["data"]]


def walk(client: FlaskClient, agent: Agent, limit: int, between: Any = lambda: None) -> list[list[str]]:
    """The names on each page, with something done between two pages."""
    pages, cursor = [], ""
    while cursor is not None:
        query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        response = client.get("/api/v1/agents", query_string=query, headers=agent.bearer())
        assert response.status_code == 200, response.text
        assert response.json is not None
        pages.append([found["name"] for found in response.json["data"]])
        cursor = response.json["nextCursor"]
        assert set(response.json) == {"data", "nextCursor"}
        assert len(pages) < 50, "it comes to an end"
        between()
    return pages


class TestList:
    """``GET /api/v1/agents``."""

    @ON_CITUS_TOO
    def test_whole(self, client: FlaskClient, cast: Cast, clock: Clock) -> None:
        clock.advance(seconds=1)
        second = create(client, cast.acme, name="second")
        first = client.get(f"/api/v1/agents/{cast.acme.agent_id}", headers=cast.acme.bearer()).json
        response = client.get("/api/v1/agents", headers=cast.acme.bearer())
        assert (response.status_code, response.json) == (200, {"data": [first, second], "nextCursor": None})

    def test_in_pages(self, client: FlaskClient, cast: Cast, clock: Clock) -> None:
        for number in range(6):
            clock.advance(seconds=number % 2)  # Two at a time are made at the same instant.
            create(client, cast.acme, name=f"{number}")
        everything = listed(client, cast.acme)
        assert len(everything) == 7
        for limit in (1, 2, 3, 6, 7, 8, 100):
            pages = walk(client, cast.acme, limit)
            assert [name for page in pages for name in page] == everything
            assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
            assert 1 <= len(pages[-1]) <= limit

    def test_no_page_shifts_where_agents_come_and_go(self, client: FlaskClient, cast: Cast, clock: Clock) -> None:
        made = {}
        for name in "abcdef":
            clock.advance(seconds=1)
            made[name] = create(client, cast.acme, name=name)["agentId"]
        new, doomed = iter("ghijklmnop"), iter("acf")

        def come_and_go() -> None:
            clock.advance(seconds=1)
            if (name := next(doomed, None)) is not None:
                # a and c were on a page already, f is on one still to come.
                client.delete(f"/api/v1/agents/{made[name]}", headers=cast.acme.bearer())
                create(client, cast.acme, name=next(new))

        assert walk(client, cast.acme, 2, come_and_go) == [["builder", "a"], ["b", "c"], ["d", "e"], ["g", "h"], ["i"]]

    def test_has_50_on_a_page_unless_told_otherwise(self, client: FlaskClient, cast: Cast) -> None:
        for number in range(51):
            create(client, cast.acme, name=f"{number}")
        assert [len(listed(client, cast.acme, query)) for query in ("", "?limit=100", "?limit=1")] == [50, 52, 1]

    @pytest.mark.parametrize(
        "limit", ["0", "101", "-1", "", "abc", "1.5", "+5", "1_0", "٣", "99999999999999999999", "1&limit=2"]
    )
    def test_limit_is_from_1_to_100(self, client: FlaskClient, cast: Cast, limit: str) -> None:
        response = client.get(f"/api/v1/agents?limit={limit.replace('+', '%2B')}", headers=cast.acme.bearer())
        rule = "must be given once only" if "&" in limit else "must be a whole number from 1 to 100"
        assert (response.status_code, response.json["details"]) == (400, {"limit": [rule]})

    @pytest.mark.parametrize(
        "cursor",
        [
            "",
            "x",
            "é",
            "\x00",
            "====",
            "a" * 5000,
            base64.urlsafe_b64encode(b"no cursor").decode(),
            base64.urlsafe_b64encode(b"\xff\xfe \xff").decode(),
            base64.urlsafe_b64encode(f"2026-04-15T12:00:00 {uuid.UUID(int=1)}".encode()).decode(),
            base64.urlsafe_b64encode(f"2026-04-15T12:00:00+00:00 {uuid.UUID(int=1)} x".encode()).decode(),
            base64.urlsafe_b64encode(f"9999-12-31T23:59:59-23:59 {uuid.UUID(int=1)}".encode()).decode(),
            base64.urlsafe_b64encode(f"0001-01-01T00:00:00+23:59 {uuid.UUID(int=1)}".encode()).decode(),
            base64.urlsafe_b64encode(b"2026-04-15T12:00:00+00:00 1' or '1'='1").decode(),
        ],
    )
    def test_a_cursor_that_is_not_ours(self, client: FlaskClient, cast: Cast, cursor: str) -> None:
        response = client.get("/api/v1/agents", query_string={"cursor": cursor}, headers=cast.acme.bearer())
        assert (response.status_code, response.json) == (
            400,
            {
                "code": "VALIDATION_ERROR",
                "message": "The request is not valid.",
                "details": {"cursor": ["must be the nextCursor of an earlier response"]},
            },
        )

    def test_a_cursor_shows_nothing_of_another_organization(
        self, client: FlaskClient, cast: Cast, clock: Clock
    ) -> None:
        clock.advance(seconds=1)
        cursor = encode_cursor(cast.acme.services.clock().replace(year=1970), cast.acme.agent_id)
        assert listed(client, cast.outsider, f"?cursor={cursor}") == ["builder"]


class TestChange:
    """``PATCH /api/v1/agents/{agentId}``."""

    @pytest.mark.parametrize(
        "change",
        [
            {"name": "renamed"},
            {"description": "described"},
            {"owner": "Team A, +49 30 1234"},
            {"scopes": []},
            {"scopes": ["agents:write", "agents:read"]},
            {"status": "suspended"},
            {"dpopBoundAccessTokens": True},
            {"expectedReplicas": MIN_REPLICAS},
            {"expectedReplicas": MAX_REPLICAS},
            {"name": "all", "description": "of", "owner": "mine", "scopes": ["agents:read"], "status": "suspended"},
        ],
    )
    def test_changes_what_is_named_and_nothing_else(
        self, client: FlaskClient, cast: Cast, clock: Clock, change: dict[str, Any]
    ) -> None:
        made = create(client, cast.acme, name="before", description="before")
        clock.advance(minutes=1)
        path = f"/api/v1/agents/{made['agentId']}"
        response = client.patch(path, json=change, headers=cast.acme.bearer())
        expected = made | change | {"updatedAt": "2026-04-15T12:01:00.000000Z"}
        assert (response.status_code, response.json) == (200, expected)
        assert client.get(path, headers=cast.acme.bearer()).json == expected

    def test_expected_replicas_stay_unless_null_removes_them(self, client: FlaskClient, cast: Cast) -> None:
        made = create(client, cast.acme, name="crowd", expectedReplicas=12)
        path = f"/api/v1/agents/{made['agentId']}"
        for change, expected in (({"owner": "me"}, 12), ({"expectedReplicas": None}, None), ({"owner": "you"}, None)):
            response = client.patch(path, json=change, headers=cast.acme.bearer())
            assert (response.status_code, response.json["expectedReplicas"]) == (200, expected)
            assert client.get(path, headers=cast.acme.bearer()).json == response.json

    def test_an_agent_may_keep_its_name(self, client: FlaskClient, cast: Cast) -> None:
        path = f"/api/v1/agents/{cast.acme.agent_id}"
        assert client.patch(path, json={"name": "builder"}, headers=cast.acme.bearer()).status_code == 200

    def test_an_empty_change_is_a_mistake(self, client: FlaskClient, cast: Cast) -> None:
        path = f"/api/v1/agents/{cast.acme.agent_id}"
        for body in ({"json": {}}, {}):
            response = client.patch(path, headers=cast.acme.bearer(), **body)
            assert (response.status_code, response.json["details"]) == (
                400,
                {"body": ["must name something to change"]},
            )

    def test_fewer_scopes_hold_for_the_next_token(self, client: FlaskClient, cast: Cast) -> None:
        worker = make_agent(cast.acme.services, cast.acme.organization_id, "worker")
        change = {"scopes": ["agents:read"]}
        client.patch(f"/api/v1/agents/{worker.agent_id}", json=change, headers=cast.acme.bearer())
        response = ask_for_token(client, worker)
        assert (response.status_code, response.json["scope"]) == (200, "agents:read")

    @pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
    def test_what_is_not_there_or_deleted(self, client: FlaskClient, cast: Cast, method: str) -> None:
        gone = create(client, cast.acme, name="gone")["agentId"]
        assert client.delete(f"/api/v1/agents/{gone}", headers=cast.acme.bearer()).status_code == 204
        for agent_id in (gone, uuid.uuid4(), uuid.UUID(int=0)):
            response = client.open(
                f"/api/v1/agents/{agent_id}", method=method, json={"name": "x"}, headers=cast.acme.bearer()
            )
            assert (response.status_code, response.json) == (404, NOT_FOUND)


class TestSuspendedOrDeleted:
    """An agent that is suspended or deleted gets no token, and those that it has stop working at once."""

    @pytest.fixture
    def worker(self, services: Services, cast: Cast) -> Agent:
        return make_agent(services, cast.acme.organization_id, "worker")

    def stop(self, client: FlaskClient, cast: Cast, worker: Agent, how: str) -> None:
        path = f"/api/v1/agents/{worker.agent_id}"
        if how == "suspended":
            response = client.patch(path, json={"status": "suspended"}, headers=cast.acme.bearer())
        else:
            response = client.delete(path, headers=cast.acme.bearer())
        assert response.status_code in (200, 204)

    @pytest.mark.parametrize("how", ["suspended", "deleted"])
    def test_gets_no_token(self, client: FlaskClient, cast: Cast, worker: Agent, database_url: str, how: str) -> None:
        assert ask_for_token(client, worker).status_code == 200
        self.stop(client, cast, worker, how)
        before = usage_sums(database_url, worker.organization_id)
        response = ask_for_token(client, worker)
        assert (response.status_code, response.json["error"]) == (401, "invalid_client")
        after = usage_sums(database_url, worker.organization_id)
        assert {name: after[name] - n for name, n in before.items() if after[name] != n} == {
            name: 1 for name in before if "rejected" in name
        }

    @pytest.mark.parametrize("how", ["suspended", "deleted"])
    def test_its_live_token_is_refused_on_the_next_request_and_the_rejection_counted(
        self, client: FlaskClient, cast: Cast, worker: Agent, database_url: str, how: str
    ) -> None:
        live = {"Authorization": f"Bearer {ask_for_token(client, worker).json['access_token']}"}
        assert client.get("/api/v1/analytics/tokens", headers=live).status_code == 200
        self.stop(client, cast, worker, how)
        for rejections, (method, path) in enumerate(
            (("GET", "/api/v1/analytics/tokens"), ("POST", "/api/v1/agents"), ("GET", "/api/v1/agents")), 1
        ):
            response = client.open(path, method=method, json={"name": "late"}, headers=live)
            assert (response.status_code, response.json) == (401, INVALID_TOKEN)
            assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
            assert usage_sums(database_url, worker.organization_id)["agent_rejected"] == rejections
        assert "late" not in listed(client, cast.acme)

    def test_works_again_once_it_is_active(self, client: FlaskClient, cast: Cast, worker: Agent) -> None:
        live = {"Authorization": f"Bearer {ask_for_token(client, worker).json['access_token']}"}
        self.stop(client, cast, worker, "suspended")
        path = f"/api/v1/agents/{worker.agent_id}"
        assert client.patch(path, json={"status": "active"}, headers=cast.acme.bearer()).status_code == 200
        assert client.get("/api/v1/agents", headers=live).status_code == 200
        assert ask_for_token(client, worker).status_code == 200

    def test_may_stop_itself(self, client: FlaskClient, cast: Cast) -> None:
        token = cast.acme.bearer()
        path = f"/api/v1/agents/{cast.acme.agent_id}"
        assert client.delete(path, headers=token).status_code == 204
        assert client.delete(path, headers=token).status_code == 401

    def test_what_a_deleted_agent_did_is_still_counted(self, client: FlaskClient, cast: Cast, worker: Agent) -> None:
        count_usage(worker.services, worker.organization_id, worker.agent_id, worker.services.clock(), tokens=5)
        self.stop(client, cast, worker, "deleted")
        response = client.get("/api/v1/analytics/agents", headers=cast.acme.bearer())
        assert response.json["data"] == [{"agentId": worker.client_id, "tokenCount": 5}]
        trend = client.get("/api/v1/analytics/tokens?days=1", headers=cast.acme.bearer())
        assert trend.json["data"] == [{"date": "2026-04-15", "count": 5}]
