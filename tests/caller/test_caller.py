"""How a bearer token is presented (RFC 6750), and how verified tokens are cached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp.caller import Caller, authenticate, bearer, token_verification
from agentidp.db.sql import only_reads
from agentidp.scopes import DEFAULT_SCOPES, SCOPES
from agentidp.services import Services
from tests.conftest import Cast
from tests.factories import RESOURCE_METADATA
from tests.helpers.access_token import CHALLENGE
from tests.helpers.revocation import revoke
from tests.routes import INVALID_TOKEN, PROTECTED, Route

MISSING = {
    "code": "UNAUTHORIZED",
    "message": "Send an access token in the header Authorization: Bearer TOKEN.",
    "details": {},
}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_the_scheme_has_no_case(shared_client: FlaskClient, shared_cast: Cast, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {shared_cast.acme.token()}"}
    assert shared_client.get("/api/v1/agents", headers=headers).status_code == 200


NO_TOKEN = ["", " ", "Basic {}", "Basic eDp5", "Token {}", "{}", "Bearer{}", "Digest x", "Negotiate"]
MALFORMED = [
    *("Bearer {} x", "Bearer {} {}", "Bearer", "DPoP", "DPoP x", "Bearer x", "Bearer \t", "Bearer {}\t"),
    *('Bearer "{}"', "Bearer {},x", "Bearer é"),
]


@pytest.mark.parametrize("header", [*NO_TOKEN, *MALFORMED])
def test_what_is_no_bearer_token_is_asked_for_one_and_a_malformed_one_is_an_error(
    shared_client: FlaskClient, shared_cast: Cast, header: str
) -> None:
    headers = {"Authorization": header.replace("{}", shared_cast.acme.token())}
    response = shared_client.get("/api/v1/agents", headers=headers)
    expected = (MISSING, f'Bearer realm="agentidp", {RESOURCE_METADATA}')
    if header in MALFORMED:
        expected = (INVALID_TOKEN, CHALLENGE)
    assert (response.status_code, response.json, response.headers["WWW-Authenticate"]) == (401, *expected)


@pytest.mark.parametrize("query", ["access_token={}", "x=1&access%5Ftoken={}", "access_token="])
def test_a_token_in_the_query_alone_is_not_read(shared_client: FlaskClient, shared_cast: Cast, query: str) -> None:
    response = shared_client.get(f"/api/v1/agents?{query}".replace("{}", shared_cast.acme.token()))
    assert (response.status_code, response.json) == (401, MISSING)
    # RFC 6750 section 3.1: no error code, since the request has no authentication.
    assert response.headers["WWW-Authenticate"] == f'Bearer realm="agentidp", {RESOURCE_METADATA}'


def test_a_token_in_the_body_alone_is_not_read(shared_client: FlaskClient, shared_cast: Cast) -> None:
    response = shared_client.post("/api/v1/agents", data={"access_token": shared_cast.acme.token()})
    assert (response.status_code, response.json) == (401, MISSING)


SECOND = {
    "code": "VALIDATION_ERROR",
    "message": "The access token must be sent in the Authorization header only",
    "details": {"access_token": ["must not be sent beside the Authorization header"]},
}
FORM = "application/x-www-form-urlencoded"
SECOND_TOKENS: list[dict[str, Any]] = [
    {"query_string": "access_token={}"},
    {"query_string": "days=7&access_token="},
    {"query_string": "acc%65ss_token={}"},
    {"query_string": "%61%63%63%65%73%73%5f%74%6f%6b%65%6e={}"},
    {"data": "access_token={}", "content_type": FORM},
    {"data": "a=b&access%5ftoken={}", "content_type": f"{FORM}; charset=utf-8"},
    {"data": "access_token={}", "content_type": FORM.upper()},
]


@pytest.mark.parametrize("sent", SECOND_TOKENS, ids=str)
def test_a_second_token_is_refused_and_the_request_counted_once(
    client: FlaskClient, cast: Cast, sent: dict[str, Any]
) -> None:
    token = cast.acme.token()
    sent = {name: value.replace("{}", token) for name, value in sent.items()}
    response = client.post("/api/v1/agents", headers={"Authorization": f"Bearer {token}"}, **sent)
    assert (response.status_code, response.json) == (400, SECOND)
    assert response.headers["WWW-Authenticate"] == (
        'Bearer realm="agentidp", error="invalid_request", '
        'error_description="The access token must be sent in the Authorization header only"'
    )
    counted = cast.acme.sums()
    assert {n for name, n in counted.items() if "requests" in name} == {1}
    assert {n for name, n in counted.items() if "requests" not in name} == {0}


@pytest.mark.parametrize("route", PROTECTED, ids=str)
def test_no_route_takes_a_second_token(shared_client: FlaskClient, shared_cast: Cast, route: Route) -> None:
    response = shared_client.open(
        route.path(), method=route.method, json=route.body, headers=shared_cast.acme.bearer(),
        query_string={"access_token": "x"},
    )  # fmt: skip
    assert (response.status_code, response.json) == (400, SECOND)


def test_a_bad_token_is_refused_before_a_second_one(shared_client: FlaskClient) -> None:
    response = shared_client.get("/api/v1/agents?access_token=x", headers={"Authorization": "Bearer x"})
    assert (response.status_code, response.json) == (401, INVALID_TOKEN)


@pytest.mark.parametrize(
    "sent",
    [
        {"query_string": "q=access_token"},
        {"query_string": "access_tokens=x&xaccess_token=y&ACCESS_TOKEN=z&%61=b"},
        {"data": "a=access_token", "content_type": FORM},
        {"json": {"access_token": "x"}},
    ],
    ids=str,
)
def test_what_only_looks_like_a_second_token_is_none(
    shared_client: FlaskClient, shared_cast: Cast, sent: dict[str, Any]
) -> None:
    response = shared_client.get("/api/v1/agents", headers=shared_cast.acme.bearer(), **sent)
    # A query with unknown parameters is refused for another reason.
    assert response.status_code == (400 if "query_string" in sent else 200)
    assert "WWW-Authenticate" not in response.headers


@pytest.mark.parametrize("scope", ["agents:reader", "AGENTS:READ", "agents", "agents:*", "agents:write"])
def test_one_scope_does_not_stand_for_another(shared_client: FlaskClient, shared_cast: Cast, scope: str) -> None:
    assert shared_client.get("/api/v1/agents", headers=shared_cast.acme.bearer(scope=scope)).status_code == 403


def test_an_agent_has_scopes_to_read_unless_told_otherwise() -> None:
    assert set(DEFAULT_SCOPES) < set(SCOPES)
    assert not any("write" in scope for scope in DEFAULT_SCOPES)


def test_a_route_cannot_ask_for_a_scope_that_nobody_has() -> None:
    with pytest.raises(ValueError, match="unknown scope agents:fly"):
        bearer("agents:fly")


def test_a_request_is_counted_whatever_its_status(client: FlaskClient, cast: Cast) -> None:
    headers = cast.acme.bearer()
    statuses = [
        client.get("/api/v1/analytics/tokens?days=0", headers=headers).status_code,
        client.post("/api/v1/agents", data="{", content_type="application/json", headers=headers).status_code,
        client.post("/api/v1/agents", data="{}", content_type="text/plain", headers=headers).status_code,
        client.post("/api/v1/agents", json={"name": "builder"}, headers=headers).status_code,
        client.post("/api/v1/agents", json={"name": "x" * 70_000}, headers=headers).status_code,
        client.get("/api/v1/agents/00000000-0000-4000-8000-000000000000", headers=headers).status_code,
        client.get("/api/v1/nothing", headers=headers).status_code,
        client.put("/api/v1/agents", headers=headers).status_code,
        client.get("/api/v1/agents", headers=headers).status_code,
        client.head("/api/v1/agents", headers=headers).status_code,
        client.options("/api/v1/agents", headers=headers).status_code,
    ]
    assert statuses == [400, 400, 415, 409, 413, 404, 404, 405, 200, 200, 200]
    counted = cast.acme.sums()
    assert {n for name, n in counted.items() if "requests" in name} == {len(statuses)}
    assert {n for name, n in counted.items() if "requests" not in name} == {0}


def test_what_is_remembered_of_tokens_is_bounded(
    client: FlaskClient, cast: Cast, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_verification, "MAX_CACHED", 3)
    for _ in range(10):
        assert client.get("/api/v1/agents", headers=cast.acme.bearer()).status_code == 200
        assert 1 <= len(services.verified_tokens) <= 3
    services.verified_tokens.clear()
    monkeypatch.setattr(token_verification, "MAX_LENGTH", len(cast.acme.token()) - 1)
    assert client.get("/api/v1/agents", headers=cast.acme.bearer()).status_code == 200
    assert len(services.verified_tokens) == 0


def test_a_refused_token_is_not_remembered(client: FlaskClient, services: Services) -> None:
    client.get("/api/v1/agents", headers={"Authorization": "Bearer x.y.z"})
    assert len(services.verified_tokens) == 0


def probe(app: Flask, view: Callable[[Caller], Any]) -> str:
    """Register a protected view, and return its address."""
    app.add_url_rule("/api/v1/probe", view_func=bearer("agents:write")(view), endpoint="probe")
    return "/api/v1/probe"


@pytest.mark.parametrize("name", ["oauth/issue_access_token", "usage/record_request", "usage/record_rejection"])
def test_a_statement_that_calls_a_function_of_ours_does_not_only_read(name: str) -> None:
    assert not only_reads(name)


class TestAViewOfOurs:
    """A view that a test adds to its own application."""

    @pytest.fixture
    def app(self, own_app: Flask) -> Flask:
        """The application."""
        return own_app

    def test_a_view_cannot_write_by_reading(self, app: Flask, cast: Cast) -> None:
        def view(caller: Caller) -> str:
            with pytest.raises(ValueError, match=r"sql/agents/delete_agent\.sql does not only read"):
                caller.read("agents/delete_agent", agent_id=cast.acme.agent_id)
            return "refused"

        assert app.test_client().get(probe(app, view), headers=cast.acme.bearer()).text == "refused"
        assert app.test_client().get("/api/v1/agents", headers=cast.acme.bearer()).status_code == 200

    def test_a_view_of_a_refused_token_does_not_get_into_its_transaction(self, app: Flask, cast: Cast) -> None:
        entered = []

        def view(caller: Caller) -> str:
            with caller.transaction() as opened:
                entered.append(opened)
            return "written"

        client = app.test_client()
        address = probe(app, view)
        token = cast.acme.token()
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get(address, headers=headers).text == "written"
        assert revoke(client, cast.acme, token).status_code == 200
        assert client.get(address, headers=headers).status_code == 401
        assert len(entered) == 1

    def test_a_view_that_asks_for_nothing_is_admitted_all_the_same(self, app: Flask, cast: Cast) -> None:
        def view(caller: Caller) -> str:
            return caller.organization_id

        client = app.test_client()
        address = probe(app, view)
        token = cast.acme.token()
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get(address, headers=headers).text == cast.acme.organization_id
        assert cast.acme.sums()["requests"] == 1
        assert revoke(client, cast.acme, token).status_code == 200
        assert client.get(address, headers=headers).status_code == 401


def test_a_caller_in_a_transaction_reads_by_it_and_is_counted_once(app: Flask, services: Services, cast: Cast) -> None:
    headers = {"Authorization": f"Bearer {cast.acme.token()}"}
    with app.test_request_context("/api/v1/agents", headers=headers):
        app.preprocess_request()
        caller = authenticate(services.clock())
        with caller.transaction() as opened:
            for refused in (
                lambda: caller.read("agents/count_agents"),
                lambda: caller.read_together(),
                caller.admit,
                lambda: caller.transaction().__enter__(),
            ):
                with pytest.raises(RuntimeError, match="a transaction of the caller is open: use it"):
                    refused()
            [count_row] = opened.fetch("agents/count_agents")
        assert caller.read("agents/count_agents") == [count_row]
        with pytest.raises(KeyError), caller.transaction():
            raise KeyError
        caller.admit()
        with caller.transaction():
            pass
    assert {name: number for name, number in cast.acme.sums().items() if number} == dict.fromkeys(
        ("requests", "agent_requests", "agent_requests_by_hour"), 1
    )
