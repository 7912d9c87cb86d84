"""``/api/v1/delegation-rules``: the rules that can be created, also by commands and forms."""

from __future__ import annotations

import uuid
from typing import Any

import marshmallow as ma
import pytest

from agentidp.registry import organization_rules
from agentidp.registry.delegation_rules import (
    MAX_AGENTS,
    MAX_GRANT_DAYS,
    MAX_RESOURCES,
    NewDelegationRuleSchema,
    Resources,
)
from tests.conftest import ON_CITUS_TOO
from tests.factories import Api, make_agent, make_organization

AGENT = "0a1b2c3d-0000-4000-8000-000000000001"
API = "https://tickets.example"
AGENTS, SERVERS = "must be agents of the organization, not ", "must be resource servers of the organization, not "
NUMBER = f"must not name more than {MAX_AGENTS} agents"


@pytest.mark.parametrize(
    ("member", "value", "rule"),
    [
        ("name", "", "must have 1 to 100 characters"),
        ("trust", None, "null"),
        ("trust", {"issuer": "https://a.example", "sub": "x"}, "Unknown field."),
        ("agentIds", [], "must name at least one, unless the rule names hosts of apps"),
        ("agentIds", [str(uuid.UUID(int=n)) for n in range(MAX_AGENTS + 1)], NUMBER),
        ("agentIds", [AGENT, AGENT.upper()], "must not name an agent twice"),
        ("agentIds", ["builder"], "must be an agent's id"),
        ("resources", [], f"must name 1 to {MAX_RESOURCES} resource servers"),
        ("resources", [{"resource": API, "scopes": ["a"]}] * 2, "must not name a resource server twice"),
        ("resources", [{"resource": API}], "Missing data"),
        ("resources", [{"resource": API, "scopes": []}], "must name at least one scope"),
        ("resources", [{"resource": API, "scopes": ["a", "a"]}], "must not name a scope twice"),
        ("resources", [{"resource": "tickets", "scopes": ["a"]}], "must be the identifier of a resource server"),
        ("grantDays", 0, "must be a whole number from 1 to 365"),
        ("grantDays", MAX_GRANT_DAYS + 1, "must be a whole number from 1 to 365"),
        ("delegationRuleId", AGENT, "Unknown field."),
    ],
)
def test_refuses(member: str, value: object, rule: str) -> None:
    new = {
        "name": "staff",
        "trust": {"issuer": "https://a.example"},
        "agentIds": [AGENT],
        "resources": [{"resource": API, "scopes": ["a"]}],
    }
    NewDelegationRuleSchema().load(new)
    with pytest.raises(ma.ValidationError) as refused:
        NewDelegationRuleSchema().load(new | {member: value})
    assert rule in str(refused.value.messages_dict[member])


def test_a_line_has_an_identifier_and_its_scopes() -> None:
    lines = [" https://a.example  read write ", "", "https://b.example", "https://a.example list"]
    assert Resources().parse_input(lines) == [
        {"resource": "https://a.example", "scopes": ["read", "write", "list"]},
        {"resource": "https://b.example", "scopes": []},
    ]


@pytest.fixture
def new(acme: Api) -> dict[str, Any]:
    """The body of a rule for an existing agent and an existing resource server."""
    resource = f"https://tickets.example/{uuid.uuid4()}"
    server = {"resource": resource, "name": "tickets", "scopes": ["tickets:read", "tickets:write"]}
    assert acme.post("resource-servers", server).status_code == 201
    return {
        "name": "staff",
        "trust": {"issuer": "https://login.example", "claims": {"groups": "support"}},
        "agentIds": [acme.agent.client_id],
        "resources": [{"resource": resource, "scopes": ["tickets:read"]}],
    }


@ON_CITUS_TOO
def test_makes_shows_and_deletes_a_rule(acme: Api, new: dict[str, Any]) -> None:
    response = acme.post("delegation-rules", new)
    rule_id = response.json["delegationRuleId"]
    rule = {
        "delegationRuleId": rule_id,
        **new,
        "createdAt": "2026-04-15T12:00:00.000000Z",
        "clientHosts": [],
        "grantDays": 30,
        "warnings": ["there is no subject, so whoever has a token of the issuer with these claims is trusted"],
    }
    assert (response.status_code, response.json) == (201, rule)
    assert response.headers["Location"].endswith(f"/api/v1/delegation-rules/{rule_id}")
    event = acme.last_event()
    assert (event["action"], event["subject"], event["after"]) == (
        "delegation_rule.created",
        rule_id,
        new | {"clientHosts": [], "grantDays": 30},
    )
    assert acme.get("delegation-rules").json == {"data": [rule]}
    assert acme.get(f"delegation-rules/{rule_id}").json == rule
    assert acme.post("delegation-rules", new).json["details"] == {"name": ["is taken"]}
    # A deleted agent stays in the rule, because no other agent gets its id.
    other = make_agent(acme.agent.services, acme.agent.organization_id, name="other")
    second_rule = new | {"name": "both", "agentIds": [acme.agent.client_id, other.client_id]}
    assert acme.post("delegation-rules", second_rule).status_code == 201
    assert acme.delete(f"agents/{other.client_id}").status_code == 204
    listed = {listed_rule["name"]: listed_rule["agentIds"] for listed_rule in acme.get("delegation-rules").json["data"]}
    assert listed == {"staff": new["agentIds"], "both": second_rule["agentIds"]}
    assert acme.delete(f"delegation-rules/{rule_id}").status_code == 204
    event = acme.last_event()
    assert (event["action"], event["subject"], event["before"]) == (
        "delegation_rule.deleted",
        rule_id,
        new | {"clientHosts": [], "grantDays": 30},
    )
    assert acme.delete(f"delegation-rules/{rule_id}").status_code == 404


def test_refuses_what_the_organization_does_not_have(
    acme: Api, new: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    services, [server] = acme.agent.services, new["resources"]
    deleted = make_agent(services, acme.agent.organization_id, name="deleted")
    assert acme.delete(f"agents/{deleted.client_id}").status_code == 204
    foreign = make_agent(services, make_organization(services))
    wrong: list[tuple[dict[str, Any], str]] = [
        *(
            ({"agentIds": [*new["agentIds"], agent.client_id]}, f"{AGENTS}{agent.client_id}")
            for agent in (deleted, foreign)
        ),
        ({"resources": [server, server | {"resource": API}]}, f"{SERVERS}{API}"),
        (
            {"resources": [server | {"scopes": ["tickets:read", "files:read", "agents:read"]}]},
            f"must have scopes of the resource server {server['resource']}, not agents:read, files:read",
        ),
        ({"trust": {"issuer": "http://login.example"}}, "issuer must be an https URL without credentials and fragment"),
    ]
    for change, rule in wrong:
        refused = acme.post("delegation-rules", new | change)
        assert (refused.status_code, refused.json["details"]) == (400, {member: [rule] for member in change})
    assert acme.post("delegation-rules", new).status_code == 201
    monkeypatch.setattr(organization_rules, "MAX_RULES", 1)
    full = acme.post("delegation-rules", new | {"name": "other"})
    assert full.json["message"] == "The organization has 1 delegation rules; delete one first."
    # Another organization sees no rule.
    assert Api(acme.client, foreign).get("delegation-rules").json == {"data": []}
