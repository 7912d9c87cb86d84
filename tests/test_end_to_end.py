"""From an empty database, by commands and HTTP only, with the OAuth libraries that people use."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agentidp.config import Settings
from tests.cli.command import Command
from tests.factories import SECRET_KEY, Server
from tests.helpers.client_libraries import (
    by_authlib_basic,
    by_authlib_post,
    by_requests_oauthlib_basic,
    by_requests_oauthlib_post,
    read,
    verified_by_discovery_only,
)

pytestmark = pytest.mark.slow


def register(run: Command, organization: str, agent: str) -> dict[str, str]:
    """Create an organization with one agent and one credential by commands."""
    organization_id = run("organization", "create", organization)
    agent_id = run("agent", "create", agent, "--organization", organization_id)
    made = run.json("credential", "create", "--agent", agent_id)
    assert made["clientId"] == agent_id
    return {"organization_id": organization_id, "client_id": agent_id, "client_secret": made["clientSecret"]}


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
