"""The tests of the analytics share an application; each has two organizations and a clock of its own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.registry.resource_servers import add_resource_server
from agentidp.services import Services
from tests.conftest import Cast
from tests.factories import Api, database_of
from tests.sharing import app, cast, client, clock, database_url

__all__ = ["app", "cast", "client", "clock", "database_url"]

OWN, API = "http://localhost:3000/api/v1", "https://api.example"


def ask(client: FlaskClient, cast: Cast, path: str, status: int = 200) -> Any:
    """Return the body of the response to Acme's agent."""
    response = Api(client, cast.acme).get(path)
    assert response.status_code == status, response.json
    return response.json


@pytest.fixture
def api(services: Services, cast: Cast) -> UUID:
    """The id of a resource server of Acme, for which its agents may get tokens."""
    with database_of(services, cast.acme.organization_id).transaction() as opened:
        row = add_resource_server(opened, services.settings, resource=API, name="Billing", scopes=["invoices:read"])
    resource_server_id: UUID = row.resource_server_id
    return resource_server_id
