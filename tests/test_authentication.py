"""How a bearer token is presented (RFC 6750), and what is remembered of one."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from agentidp import authentication
from agentidp.authentication import DEFAULT_SCOPES, SCOPES, bearer
from agentidp.services import Services

from .conftest import Cast
from .factories import RESOURCE_METADATA, usage_sums

MISSING = {"code": "UNAUTHORIZED", "message": "A valid bearer token is required.", "details": {}}
REFUSED = {"code": "UNAUTHORIZED", "message": "The access token is invalid, expired or revoked", "details": {}}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_the_scheme_has_no_case(shared_client: FlaskClient, shared_cast: Cast, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {shared_cast.acme.token()}"}
    assert shared_client.get("/api/v1/agents", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["", " ", "Basic {}", "Basic eDp5", "Token {}", "{}", "Bearer{}", "Digest x", "Negotiate"],
)
def test_what_is_no_bearer_token_is_asked_for_one_without_an_error(
    shared_client: FlaskClient, shared_cast: Cast, header: str
) -> None:
    headers = {"Authorization": header.format(shared_cast.acme.token())}
    response = shared_client.get("/api/v1/agents", headers=headers)
    assert (response.status_code, response.json) == (401, MISSING)
    assert response.headers["WWW-Authenticate"] == f'Bearer realm="agentidp", {RESOURCE_METADATA}'


@pytest.mark.parametrize(
    "header",
    [
        "Bearer {} x",
        "Bearer {} {}",
        "Bearer",
        "DPoP",
        "DPoP x",
        "Bearer x",
        "Bearer \t",
        "Bearer {}\t",
        'Bearer "{}"',
        "Bearer {},x",
        "Bearer é",
    ],
)
def test_a_malformed_bearer_token_is_refused(shared_client: FlaskClient, shared_cast: Cast, header: str) -> None:
    headers = {"Authorization": header.replace("{}", shared_cast.acme.token())}
    response = shared_client.get("/api/v1/agents", headers=headers)
    assert (response.status_code, response.json) == (401, REFUSED)
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize("place", ["query_string", "data"])
def test_a_token_outside_the_header_is_not_seen(shared_client: FlaskClient, shared_cast: Cast, place: str) -> None:
    response = shared_client.get("/api/v1/agents", **{place: {"access_token": shared_cast.acme.token()}})
    assert (response.status_code, response.json) == (401, MISSING)


def test_a_token_without_any_scope_is_forbidden_everything(shared_client: FlaskClient, shared_cast: Cast) -> None:
    headers = shared_cast.acme.bearer(scope="")
    assert shared_client.get("/api/v1/agents", headers=headers).status_code == 403


@pytest.mark.parametrize("scope", ["agents:reader", "AGENTS:READ", "agents", "agents:*", "agents:write"])
def test_one_scope_does_not_stand_for_another(shared_client: FlaskClient, shared_cast: Cast, scope: str) -> None:
    assert shared_client.get("/api/v1/agents", headers=shared_cast.acme.bearer(scope=scope)).status_code == 403


def test_an_agent_has_scopes_to_read_unless_told_otherwise() -> None:
    assert set(DEFAULT_SCOPES) < set(SCOPES)
    assert not any("write" in scope for scope in DEFAULT_SCOPES)


def test_a_route_cannot_ask_for_a_scope_that_nobody_has() -> None:
    with pytest.raises(ValueError, match="unknown scope agents:fly"):
        bearer("agents:fly")


def test_a_request_is_counted_whatever_its_status(client: FlaskClient, cast: Cast, database_url: str) -> None:
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
    ]
    assert statuses == [400, 400, 415, 409, 413, 404, 404, 405, 200, 200]
    counted = usage_sums(database_url, cast.acme.organization_id)
    assert {n for name, n in counted.items() if "requests" in name} == {len(statuses)}
    assert {n for name, n in counted.items() if "requests" not in name} == {0}


def test_what_is_remembered_of_tokens_is_bounded(
    client: FlaskClient, cast: Cast, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "MAXIMUM_CACHED", 3)
    for _ in range(10):
        assert client.get("/api/v1/agents", headers=cast.acme.bearer()).status_code == 200
        assert len(services.verified_tokens) <= 3


def test_a_refused_token_is_not_remembered(client: FlaskClient, services: Services) -> None:
    client.get("/api/v1/agents", headers={"Authorization": "Bearer x.y.z"})
    assert len(services.verified_tokens) == 0
