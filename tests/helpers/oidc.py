"""Signs in at an OpenID provider."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.dashboard.oidc_sign_in import PATH
from agentidp.dashboard.person import ADMINISTRATOR, VIEWER
from tests.audit.conftest import events_of, verified
from tests.dashboard.company import Company
from tests.factories import Agent

UNKNOWN = "org-11111111-1111-1111-1111-111111111111"


ROLE_OF = {VIEWER: ["watchers"], ADMINISTRATOR: ["keepers", "watchers"]}


def begin(client: FlaskClient, **query: str) -> str:
    """Follow the link on the sign-in page, and return the address at the provider."""
    response = client.get(PATH, query_string=query)
    assert response.status_code == 302, response.text
    return response.headers["Location"]


def sign_in(client: FlaskClient, provider: Company, agent: Agent, role: str = VIEWER, **claims: Any) -> TestResponse:
    """Sign in as Anna, who belongs to the agent's organization."""
    provider.claims |= {"organization": agent.organization_id, "roles": ROLE_OF[role]} | claims
    return client.get(provider.authorize(begin(client)))


def events(agent: Agent) -> list[tuple[str, str, str, Any]]:
    """Return the audit events of people in the agent's organization: (action, actor's type, actor, new values)."""
    url = agent.database_url
    assert verified(url, agent.organization_id).broken_at is None
    return [
        (event["action"], event["actorType"], event["actor"], event["after"])
        for event in events_of(url, agent.organization_id)
        if event["actorType"] == "person"
    ]
