"""From an empty database, by commands and HTTP only, with the OAuth libraries that people use."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from agentidp.config import Settings
from tests.cli.command import Command
from tests.factories import PATIENCE, SECRET_KEY, Server

pytestmark = pytest.mark.slow


def register(run: Command, organization: str, agent: str) -> dict[str, str]:
    """An organization with one agent and one credential, by commands."""
    organization_id = run("organization", "create", organization)
    agent_id = run("agent", "create", agent, "--organization", organization_id)
    made = run.json("credential", "create", "--agent", agent_id)
    assert made["clientId"] == agent_id
    return {"organization_id": organization_id, "client_id": agent_id, "client_secret": made["clientSecret"]}


def by_authlib_basic(url: str, who: dict[str, str]) -> dict[str, Any]:
    with AuthlibSession(who["client_id"], who["client_secret"]) as session:
        return dict(session.fetch_token(f"{url}/api/v1/token", grant_type="client_credentials"))


def by_authlib_post(url: str, who: dict[str, str]) -> dict[str, Any]:
    with AuthlibSession(
        who["client_id"], who["client_secret"], token_endpoint_auth_method="client_secret_post"
    ) as session:
        return dict(session.fetch_token(f"{url}/api/v1/token", grant_type="client_credentials"))


def by_requests_oauthlib_basic(url: str, who: dict[str, str]) -> dict[str, Any]:
    with OAuth2Session(client=BackendApplicationClient(client_id=who["client_id"])) as session:
        auth = HTTPBasicAuth(who["client_id"], who["client_secret"])
        return dict(session.fetch_token(f"{url}/api/v1/token", auth=auth))


def by_requests_oauthlib_post(url: str, who: dict[str, str]) -> dict[str, Any]:
    with OAuth2Session(client=BackendApplicationClient(client_id=who["client_id"])) as session:
        return dict(
            session.fetch_token(f"{url}/api/v1/token", client_secret=who["client_secret"], include_client_id=True)
        )


def read(url: str, path: str, token: str) -> Any:
    response = requests.get(url + path, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)
    assert response.status_code == 200, response.text
    return response.json()


def verified_by_discovery_only(url: str, token: str) -> dict[str, Any]:
    """What a resource server does that knows the issuer and nothing else (RFC 8414, RFC 7517, RFC 9068)."""
    metadata = requests.get(f"{url}/.well-known/oauth-authorization-server", timeout=PATIENCE).json()
    assert metadata["issuer"] == url
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    return jwt.decode(
        token,
        key.key,
        algorithms=["ES256"],
        audience=f"{url}/api/v1",
        issuer=metadata["issuer"],
        options={"require": ["exp", "iat", "jti", "sub", "client_id"]},
    )


@pytest.mark.usefixtures("midnight_is_far", "quiet")
def test_from_an_empty_database_to_the_three_responses(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # oauthlib refuses plain HTTP, even to localhost, unless told so.
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    run = Command(empty_database_url)
    # The first command makes the schema, and says so.
    assert run.invoke("organization", "list").exit_code == 0
    acme, outsider = register(run, "Acme", "builder"), register(run, "Outsider", "spy")
    with Server({"AGENTIDP_DATABASE_URL": empty_database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}) as server:
        url = server.url
        issued = by_authlib_basic(url, acme)
        token = issued["access_token"]
        today = datetime.now(UTC)
        assert (issued["token_type"], issued["expires_in"]) == ("Bearer", Settings.token_ttl)
        assert issued["scope"] == "analytics:read agents:read"

        claims = verified_by_discovery_only(url, token)
        assert claims["sub"] == claims["client_id"] == acme["client_id"]
        assert claims["organization_id"] == acme["organization_id"]
        assert claims["exp"] - claims["iat"] == Settings.token_ttl

        trend = read(url, "/api/v1/analytics/tokens?days=2", token)
        assert trend["tenantId"] == acme["organization_id"]
        assert [day["count"] for day in trend["data"]] == [0, 1]
        # The token and the trend.
        heatmap = read(url, "/api/v1/analytics/agents/activity", token)
        assert sum(cell["count"] for cell in heatmap["data"]) == 2
        assert read(url, "/api/v1/analytics/agents", token) == {
            "tenantId": acme["organization_id"],
            "month": today.strftime("%Y-%m"),
            "data": [{"agentId": acme["client_id"], "tokenCount": 1}],
        }

        for client in (by_authlib_post, by_requests_oauthlib_basic, by_requests_oauthlib_post):
            verified_by_discovery_only(url, client(url, acme)["access_token"])
        assert read(url, "/api/v1/analytics/tokens?days=1", token)["data"][0]["count"] == 4

        theirs = by_authlib_basic(url, outsider)["access_token"]
        seen = read(url, "/api/v1/analytics/tokens?days=1", theirs)
        assert (seen["tenantId"], seen["data"][0]["count"]) == (outsider["organization_id"], 1)
