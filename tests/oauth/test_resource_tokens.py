"""What a resource server says of its tokens: their audience, their lifetime and their subject."""

from __future__ import annotations

import uuid
from typing import Any

import jwt
import pytest
from flask.testing import FlaskClient

from agentidp.registry import operator_token, resource_identifiers
from agentidp.services import Services
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import Agent, Api, Clock
from tests.helpers.access_token import Forge
from tests.helpers.introspection import INACTIVE, introspect
from tests.oauth.clients import ISSUER, NOW, ask_as, claims_of
from tests.sharing import app, cast, client, clock, database_url

__all__ = ["app", "cast", "client", "clock", "database_url"]

TAKEN = {"code": "CONFLICT", "message": "The resource is registered already.", "details": {"audience": ["is taken"]}}


@pytest.fixture
def resource() -> str:
    """A new identifier per test, because the application is shared."""
    return f"https://cloud.example/{uuid.uuid4()}"


def register(client: FlaskClient, agent: Agent, resource: str, status: int = 201, **said: Any) -> Any:
    """Register a resource server, and return the JSON of the response."""
    body = {"resource": resource, "name": "cloud", "scopes": ["invoices:read"]} | said
    response = Api(client, agent).post("resource-servers", body)
    assert response.status_code == status, response.text
    return response.json


def change(client: FlaskClient, agent: Agent, server: dict[str, Any], status: int = 200, **said: Any) -> Any:
    """Change a resource server, and return the JSON of the response."""
    response = Api(client, agent).patch(f"resource-servers/{server['resourceServerId']}", said)
    assert response.status_code == status, response.text
    return response.json


@ON_CITUS_TOO
def test_a_token_is_as_its_resource_server_says(client: FlaskClient, cast: Cast, resource: str) -> None:
    audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/agents/providers/agentidp"
    settings = {"audience": audience, "tokenTtl": 300, "subject": "organization-agent"}
    made = register(client, cast.acme, resource, **settings)
    assert {name: made[name] for name in settings} == settings
    response = ask_as(client, cast.acme, resource=resource)
    claims = claims_of(response)
    expected = {
        "iss": ISSUER,
        "sub": f"org:{cast.acme.organization_id}:agent:{cast.acme.client_id}",
        "client_id": cast.acme.client_id,
        "aud": audience,
        "exp": NOW + 300,
        "iat": NOW,
        "jti": claims["jti"],
        "organization_id": cast.acme.organization_id,
        "resource": resource,
    }
    assert claims == expected
    token = response.json["access_token"]
    assert response.json == {"access_token": token, "token_type": "Bearer", "expires_in": 300}
    assert introspect(client, cast.acme, token).json == {"active": True, "token_type": "Bearer", **expected}
    assert introspect(client, cast.outsider, token).json == INACTIVE
    # It is counted by the identifier that was asked for.
    used = client.get("/api/v1/analytics/resources", headers=cast.acme.bearer()).json["data"]
    assert [(usage["resource"], usage["tokens"]) for usage in used if usage["tokens"]] == [(resource, 1)]
    assert client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert ask_as(client, cast.acme, "/api/v1/token/revoke", token=token).status_code == 200
    assert introspect(client, cast.acme, token).json == INACTIVE


@pytest.mark.parametrize(("ttl", "expires_in"), [(60, 60), (86_400, 86_400), (None, 3600)])
def test_a_lifetime_ends_when_it_says(
    client: FlaskClient, cast: Cast, resource: str, clock: Clock, ttl: int | None, expires_in: int
) -> None:
    server = register(client, cast.acme, resource, tokenTtl=300)
    assert change(client, cast.acme, server, tokenTtl=ttl)["tokenTtl"] == ttl
    response = ask_as(client, cast.acme, resource=resource)
    assert response.json["expires_in"] == expires_in
    token, seen = response.json["access_token"], []
    for seconds in (expires_in - 1, 1):
        clock.advance(seconds=seconds)
        seen.append(introspect(client, cast.acme, token).json["active"])
    assert seen == [True, False]


def test_a_client_asks_by_the_identifier_and_not_by_the_audience(
    client: FlaskClient, cast: Cast, resource: str
) -> None:
    register(client, cast.acme, resource, audience="api://AzureADTokenExchange")
    for form in ({"resource": "api://AzureADTokenExchange"}, {"audience": "api://AzureADTokenExchange"}):
        assert ask_as(client, cast.acme, **form).json["error"] == "invalid_target"
    assert claims_of(ask_as(client, cast.acme, resource=resource))["aud"] == "api://AzureADTokenExchange"


# The first was ``org:``, an organization's id, ``:agent:x`` for an agent whose id was in that organization's.
SUBJECTS = ["org:org-{agentId}:agent:x", "org:{organizationId}:agent:{agentId}", "{agentId}", "", None]
OUR_OWN = [f"{ISSUER}/api/v1", f"{ISSUER.upper()}/API/v1/", f"{ISSUER}/dashboard"]


@pytest.mark.parametrize(
    ("member", "value", "rule"),
    [
        *[("subject", subject, "must be one of agent, organization-agent") for subject in SUBJECTS],
        *[("audience", own, "must not be this server's own API or dashboard") for own in OUR_OWN],
    ],
)
def test_a_subject_is_one_of_two_words_and_no_audience_is_our_own(
    client: FlaskClient, cast: Cast, resource: str, member: str, value: str | None, rule: str
) -> None:
    server = register(client, cast.acme, resource)
    assert register(client, cast.acme, f"{resource}/2", 400, **{member: value})["details"] == {member: [rule]}
    assert change(client, cast.acme, server, 400, **{member: value})["details"] == {member: [rule]}
    claims = claims_of(ask_as(client, cast.acme, resource=resource))
    assert (claims["sub"], claims["aud"]) == (cast.acme.client_id, resource)


@pytest.mark.parametrize(
    ("audience", "spelling"),
    [
        ("https://billing.example/{}", "HTTPS://billing.example:443/{}/"),
        ("//iam.googleapis.com/{}", "https://iam.googleapis.com/{}"),
        ("https://iam.googleapis.com/{}", "//iam.googleapis.com/{}"),
        ("vault-{}", "VAULT-{}"),
        # The identifier of one, and the audience of the other.
        (None, "https://cloud.example/{}"),
    ],
)
def test_an_audience_belongs_to_one_organization(
    client: FlaskClient, cast: Cast, audience: str | None, spelling: str
) -> None:
    number, other = uuid.uuid4(), f"https://outsider.example/{uuid.uuid4()}"
    register(client, cast.acme, f"https://cloud.example/{number}", audience=audience and audience.format(number))
    assert register(client, cast.outsider, other, 409, audience=spelling.format(number)) == TAKEN
    server = register(client, cast.outsider, other)
    assert change(client, cast.outsider, server, 409, audience=spelling.format(number)) == TAKEN
    paths = client.get("/api/v1/openapi.json").json["paths"]
    assert "409" in paths["/api/v1/resource-servers/{resourceServerId}"]["patch"]["responses"]
    assert claims_of(ask_as(client, cast.outsider, resource=other))["aud"] == other
    # The organization itself may use it twice.
    again = f"https://cloud.example/{uuid.uuid4()}"
    register(client, cast.acme, again, audience=spelling.format(number), subject="organization-agent")
    assert claims_of(ask_as(client, cast.acme, resource=again))["aud"] == spelling.format(number)


@pytest.mark.parametrize(
    "audience",
    [
        "sts.amazonaws.com",
        *(f"api://AzureADTokenExchange{cloud}" for cloud in ("", "USGov", "China")),
        "API://AzureADTokenExchange/",
    ],
)
def test_an_audience_of_a_cloud_belongs_to_nobody_and_the_subjects_differ(
    client: FlaskClient, cast: Cast, audience: str
) -> None:
    tokens = []
    for agent in (cast.acme, cast.outsider):
        resource = f"https://cloud.example/{uuid.uuid4()}"
        register(client, agent, resource, audience=audience, subject="organization-agent")
        response = ask_as(client, agent, resource=resource)
        assert claims_of(response)["aud"] == audience
        assert claims_of(response)["sub"] == f"org:{agent.organization_id}:agent:{agent.client_id}"
        tokens.append(response.json["access_token"])
    for agent, others in ((cast.acme, tokens[1]), (cast.outsider, tokens[0])):
        assert introspect(client, agent, others).json == INACTIVE
    assert introspect(client, cast.acme, tokens[0]).json["active"] is True


@pytest.mark.parametrize("resource", ["api://AzureADTokenExchange", "API://azureadtokenexchangeusgov//"])
def test_no_organization_has_an_audience_of_a_cloud_as_identifier(
    client: FlaskClient, cast: Cast, resource: str
) -> None:
    """It would exclude all others, and its agents could act for each other in the cloud, which checks only sub."""
    rule = "must not be an audience that all customers of a cloud share: set it as the audience only"
    assert register(client, cast.acme, resource, 400)["details"] == {"resource": [rule]}


def test_who_loses_an_audience_gets_no_token_with_it(
    client: FlaskClient, services: Services, cast: Cast, resource: str
) -> None:
    audience = f"vault-{uuid.uuid4()}"
    server = register(client, cast.acme, resource, audience=audience)
    token = ask_as(client, cast.acme, resource=resource).json["access_token"]
    settings, at = services.settings, services.clock()
    ours, theirs = cast.acme.organization_id, cast.outsider.organization_id
    assert resource_identifiers.assign_identifier(settings, audience, theirs, at) == ours
    # Another change is possible, and does not end that.
    change(client, cast.acme, server, name="renamed")
    assert ask_as(client, cast.acme, resource=resource).json["error"] == "invalid_target"
    assert introspect(client, cast.acme, token).json == INACTIVE
    assert resource_identifiers.release_identifier(cast.acme.database_url, audience, at) == theirs
    assert (audience, None, (ours,)) in resource_identifiers.list_resource_identifiers(
        cast.acme.database_url, only_unowned=True
    )
    assert resource_identifiers.assign_identifier(settings, audience, ours, at) is None
    assert introspect(client, cast.acme, token).json["active"] is True


def test_a_token_with_a_former_audience_is_inactive(client: FlaskClient, cast: Cast, resource: str) -> None:
    server = register(client, cast.acme, resource)
    by_identifier = ask_as(client, cast.acme, resource=resource).json["access_token"]
    change(client, cast.acme, server, audience="sts.amazonaws.com")
    by_audience = ask_as(client, cast.acme, resource=resource).json["access_token"]
    assert introspect(client, cast.acme, by_audience).json["active"] is True
    # The first token is for the identifier, which the resource server still has.
    assert introspect(client, cast.acme, by_identifier).json["active"] is True
    change(client, cast.acme, server, audience=None)
    assert introspect(client, cast.acme, by_audience).json == INACTIVE
    assert introspect(client, cast.acme, by_identifier).json["active"] is True


def test_our_own_api_takes_no_subject_of_the_other_form(client: FlaskClient, cast: Cast) -> None:
    assert client.get("/api/v1/agents", headers=cast.acme.bearer(subject_form="organization-agent")).status_code == 401


@pytest.mark.parametrize(
    ("subject", "is_active"),
    [
        ("{agent}", True),
        ("org:{organization}:agent:{agent}", True),
        ("org:{organization}:agent:{agent}x", False),
        ("org:{other}:agent:{agent}", False),
        ("agent:{agent}", False),
    ],
)
def test_introspection_knows_the_two_forms_and_no_other(
    client: FlaskClient, cast: Cast, resource: str, subject: str, is_active: bool
) -> None:
    register(client, cast.acme, resource)
    ids = {"organization": cast.acme.organization_id, "agent": cast.acme.client_id}
    sub = subject.format(**ids, other=cast.outsider.organization_id)
    introspection = introspect(client, cast.acme, Forge(cast.acme).with_claims(aud=resource, sub=sub)).json
    assert (introspection["active"], introspection.get("sub")) == (is_active, sub if is_active else None)


def test_the_operators_token_is_the_same(client: FlaskClient, services: Services, cast: Cast, resource: str) -> None:
    register(client, cast.acme, resource, audience="sts.amazonaws.com", tokenTtl=60, subject="organization-agent")
    token = operator_token.issue_counted_token(
        services, cast.acme.organization_id, cast.acme.agent_id, scope=None, resource=resource, at=services.clock()
    )
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["aud"], claims["exp"] - claims["iat"], claims["sub"]) == (
        "sts.amazonaws.com",
        60,
        f"org:{cast.acme.organization_id}:agent:{cast.acme.client_id}",
    )
