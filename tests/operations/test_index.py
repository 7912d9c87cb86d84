"""``GET /`` leads a browser to the dashboard and everyone else to the documentation."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from agentidp.operations.index import IndexSchema

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_lists_the_addresses_to_begin_with(shared_client: FlaskClient, accept: str | None) -> None:
    response = shared_client.get("/", headers={"Accept": accept} if accept else {})
    body = response.json
    assert (response.status_code, response.headers["Vary"]) == (200, "Accept")
    assert list(body) == list(IndexSchema().fields)
    assert body["name"] == "AgentIdP"
    for name in ("documentation", "openapi", "authorizationServer"):
        path = body[name].removeprefix("http://localhost:3000")
        assert shared_client.get(path).status_code == 200, name


def test_sends_a_browser_to_the_dashboard(shared_client: FlaskClient) -> None:
    response = shared_client.get("/", headers={"Accept": BROWSER})
    assert (response.status_code, response.headers["Location"]) == (303, "http://localhost:3000/dashboard")
