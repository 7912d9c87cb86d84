"""An organization sees and changes nothing of another's, on any route, whatever the request says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.services import Services
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import IDS, Agent, make_one_of_each
from tests.helpers.rows import everything_of
from tests.routes import JSON_ROUTES, PROTECTED, Route
from tests.sharing import app, database_url

__all__ = ["app", "database_url"]

IDENTIFIED = [route for route in PROTECTED if route.ids]
COLLECTIONS = [route for route in PROTECTED if "<" not in route.rule]
READS = [route for route in PROTECTED if route.method == "GET"]

NOT_FOUND = {"code": "NOT_FOUND", "message": "There is nothing at this address.", "details": {}}


@pytest.fixture
def ids(client: FlaskClient, services: Services, cast: Cast) -> dict[str, str]:
    """The ids of Acme's objects. Both organizations have usage, Acme much more."""
    cast.acme.count(services.clock(), tokens=41)
    cast.outsider.count(services.clock(), tokens=1)
    return make_one_of_each(client, cast.acme)


@ON_CITUS_TOO
@pytest.mark.parametrize("route", IDENTIFIED, ids=str)
def test_another_organizations_ids_are_not_there(
    client: FlaskClient, cast: Cast, database_url: str, ids: dict[str, str], route: Route
) -> None:
    before = everything_of(database_url, cast.acme.organization_id)
    assert len(before["credentials"]) == 2
    path = route.path(**ids)
    response = client.open(path, method=route.method, json=route.body, headers=cast.outsider.bearer())
    assert (response.status_code, response.json) == (404, NOT_FOUND)
    assert everything_of(database_url, cast.acme.organization_id) == before


@ON_CITUS_TOO
def test_a_credential_is_not_revoked_below_an_agent_of_ones_own(
    client: FlaskClient, cast: Cast, database_url: str, ids: dict[str, str]
) -> None:
    before = everything_of(database_url, cast.acme.organization_id)
    path = f"/api/v1/agents/{cast.outsider.agent_id}/credentials/{ids['credential_id']}"
    response = client.delete(path, headers=cast.outsider.bearer())
    assert (response.status_code, response.json) == (404, NOT_FOUND)
    assert everything_of(database_url, cast.acme.organization_id) == before


@ON_CITUS_TOO
@pytest.mark.parametrize("route", COLLECTIONS, ids=str)
def test_a_collection_holds_only_what_is_ones_own(
    client: FlaskClient, cast: Cast, database_url: str, ids: dict[str, str], route: Route
) -> None:
    counts = {f":{count}" for count in cast.acme.sums().values() if count}
    before = everything_of(database_url, cast.acme.organization_id)
    IDS["resource_server_id"](client, cast.outsider)
    body = route.body_for(cast.outsider.agent_id)
    response = client.open(route.rule, method=route.method, json=body, headers=cast.outsider.bearer())
    assert response.status_code in (200, 201)
    seen = response.text + str(response.headers)
    assert ":41" in counts
    for secret in (cast.acme.organization_id, *ids.values(), "acme", *counts):
        assert secret not in seen
    assert everything_of(database_url, cast.acme.organization_id) == before


def tampered(acme: Agent) -> Iterator[dict[str, str]]:
    """Headers that name another organization in a request. A parameter that does so is unknown, and refused."""
    for header in ("X-Organization-Id", "X-Tenant-Id", "X-Forwarded-Host", "X-Forwarded-User", "X-Original-URL"):
        yield {header: acme.organization_id}
    yield {"Host": f"{acme.organization_id}.example"}
    yield {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Prefix": f"/{acme.organization_id}"}
    yield {"X-HTTP-Method-Override": "DELETE"}
    yield {"Cookie": f"organization_id={acme.organization_id}; session={acme.token()}"}


@pytest.mark.parametrize("route", READS, ids=str)
def test_nothing_in_a_request_but_its_token_changes_whose_data_is_shown(
    client: FlaskClient, cast: Cast, ids: dict[str, str], route: Route
) -> None:
    outsider = cast.outsider
    path = route.path(**make_one_of_each(client, outsider))
    own = client.get(path, headers=outsider.bearer())
    assert own.status_code == 200
    for headers in tampered(cast.acme):
        response = client.get(path, headers=outsider.bearer() | headers)
        assert (response.status_code, _without_counts(response.json)) == (200, _without_counts(own.json)), headers
    # A second token is refused, whoever's it is.
    refused = client.get(path, headers=outsider.bearer(), query_string={"access_token": cast.acme.token()})
    assert refused.status_code == 400


def _without_counts(body: Any) -> str:
    # Reading is itself counted, so the caller's own requests grow from one reading to the next; Acme has more of them.
    return re.sub(r"(?<=: )\d+(?=[,}])", lambda number: str(int(number[0]) < 41), json.dumps(body))


@pytest.mark.parametrize("route", JSON_ROUTES, ids=str)
@pytest.mark.parametrize("field", ["organization_id", "organizationId", "tenantId", "agentId", "agent_id", "createdAt"])
def test_a_body_cannot_name_an_organization_or_an_id(
    shared_client: FlaskClient, shared_cast: Cast, route: Route, field: str
) -> None:
    acme, outsider = shared_cast.acme, shared_cast.outsider
    body = (route.body or {}) | {field: acme.organization_id}
    # A marker names an agent, which is looked up in the organization.
    rule = "must be an agent's id" if field in (route.body or {}) else "Unknown field."
    path = route.path(outsider.agent_id)
    response = shared_client.open(path, method=route.method, json=body, headers=outsider.bearer())
    assert response.status_code == 400
    assert response.json == {
        "code": "VALIDATION_ERROR",
        "message": "The request is not valid.",
        "details": {field: [rule]},
    }


@ON_CITUS_TOO
def test_what_is_made_belongs_to_the_organization_of_the_token(
    client: FlaskClient, cast: Cast, database_url: str
) -> None:
    acme, outsider = cast.acme, cast.outsider
    before = everything_of(database_url, acme.organization_id)
    headers = outsider.bearer() | {"X-Organization-Id": acme.organization_id}
    response = client.post("/api/v1/agents", json={"name": "whose?"}, headers=headers)
    assert response.status_code == 201
    assert everything_of(database_url, acme.organization_id) == before
    assert any("whose?" in row for (row,) in everything_of(database_url, outsider.organization_id)["agents"])


def test_both_organizations_may_use_a_name(client: FlaskClient, cast: Cast) -> None:
    answers = [
        client.post("/api/v1/agents", json={"name": "same"}, headers=a.bearer()) for a in (cast.acme, cast.outsider)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
