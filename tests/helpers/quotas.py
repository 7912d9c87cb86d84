"""Sets and reads quotas over HTTP."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.factories import Agent, Api


def put(client: FlaskClient, agent: Agent, window: str, tokens: int, *, enforce: bool = True, own: bool = True) -> Any:
    """Set a quota of the agent or, without *own*, of its organization."""
    prefix = f"agents/{agent.client_id}/" if own else ""
    response = Api(client, agent).put(f"{prefix}quotas/{window}", {"tokens": tokens, "enforce": enforce})
    assert response.status_code == 200, response.json
    return response.json


def ask(client: FlaskClient, agent: Agent, **form: str) -> TestResponse:
    """Return the response to a token request of an agent."""
    return client.post("/api/v1/token", data=agent.form | form)
