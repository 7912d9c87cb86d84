"""Every member of every thing is stored: the API sets it, and reads it back, and no other member changes.

The members come from the fields, so a new member is tested without a line here. :data:`VALUES` has the values that do
not follow from the type of a field.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import marshmallow as ma
import pytest
from flask.testing import FlaskClient

from agentidp.alerts.target_fields import AlertTargetChangeSchema
from agentidp.http.schemas import (
    AgentId,
    ChangeSchema,
    Choice,
    Flag,
    Group,
    Instant,
    Items,
    Number,
    ScopeList,
    Text,
    timestamp,
)
from agentidp.registry.agents import AgentChangeSchema
from agentidp.registry.credentials import NewCredentialSchema, RuleSchema, RuleText
from agentidp.registry.delegation_rules import NewDelegationRuleSchema
from agentidp.registry.markers import NewMarkerSchema
from agentidp.registry.openid_providers import OpenidProviderChangeSchema
from agentidp.registry.organizations import OrganizationChangeSchema
from agentidp.registry.provisioning import NewProvisioningRuleSchema
from agentidp.registry.quotas import NewQuotaSchema
from agentidp.registry.resource_servers import ResourceServerChangeSchema
from tests.conftest import Cast
from tests.factories import NOON, Api

VALUES: dict[str, Any] = {
    "audience": "https://idp.example/ORGANIZATION",
    "claims": {"group": ["a", "b"]},
    "clientHosts": ["app.example"],
    "clientId": "changed-client",
    "clientSecret": "changed secret",
    "issuer": "https://login.example",
    "jwksUri": "https://login.example/keys",
    "quotas": {"day": {"tokens": 7, "enforce": True}},
    "redirectUris": ["https://app.example/callback"],
    "resources": [{"resource": "https://tickets.example", "scopes": ["tickets:read"]}],
    "url": "https://changed.example/x",
}
"""Member -> a value. ``ORGANIZATION`` stands for the id of the organization."""

NO_KEYS_BESIDE_THEIR_ADDRESS = ["jwks"]


def value_of(name: str, field: ma.fields.Field[Any], now: Any, agent_id: str) -> Any:
    """Return a value of a field that differs from the present one."""
    if name in VALUES:
        return VALUES[name]
    match field:
        case Group():
            return body_of(field.schema, agent_id)
        case Choice():
            return next(value for value in reversed(field.values) if value != now)
        case Flag():
            return not now
        case Number():
            return field.minimum + 1
        case Instant():
            return timestamp(NOON + timedelta(days=1))
        case AgentId():
            return agent_id
        case ScopeList():
            return ["audit:read"] if now is None or "agents:read" in now else ["changed:read"]
        case Items():
            return [value_of("", field.item, None, agent_id)]
        case Text() | RuleText():
            return "changed"
    raise TypeError(f"VALUES needs a value of {name}")


def body_of(schema: ma.Schema, agent_id: str) -> dict[str, Any]:
    """Return a body that has every member of a schema."""
    fields = {name: field for name, field in schema.fields.items() if name not in NO_KEYS_BESIDE_THEIR_ADDRESS}
    return {name: value_of(name, field, None, agent_id) for name, field in fields.items()}


def filled_in(body: dict[str, Any], acme: Api) -> dict[str, Any]:
    """Return a body with the id of the organization."""
    text = json.dumps(body).replace("ORGANIZATION", acme.agent.organization_id)
    filled: dict[str, Any] = json.loads(text)
    return filled


@pytest.fixture
def acme(client: FlaskClient, cast: Cast) -> Api:
    """The administrator of Acme, whose resource server has a scope."""
    acme = Api(client, cast.acme)
    server = {"resource": "https://tickets.example", "name": "tickets", "scopes": ["tickets:read"]}
    assert acme.post("resource-servers", server).status_code == 201
    return acme


CHANGEABLE: dict[str, tuple[ChangeSchema, dict[str, Any] | None]] = {
    "agents": (AgentChangeSchema(), {"name": "new"}),
    "alert-targets": (
        AlertTargetChangeSchema(),
        {"name": "new", "type": "webhook", "url": "https://hooks.example/x"},
    ),
    "openid-providers": (
        OpenidProviderChangeSchema(),
        {"issuer": "https://login.example", "clientId": "new", "scopes": []},
    ),
    "organization": (OrganizationChangeSchema(), None),
    "resource-servers": (ResourceServerChangeSchema(), {"resource": "https://new.example", "name": "new"}),
}
"""The schema of the change, and the body that creates the object, by path."""

CHANGED_BESIDE = {
    "agents": {"updatedAt"},
    "alert-targets": {"updatedAt", "destination"},
    "openid-providers": {"updatedAt", "hasClientSecret"},
}


@pytest.mark.parametrize("path", CHANGEABLE)
def test_each_member_is_changed_and_no_other_is(acme: Api, path: str) -> None:
    schema, new = CHANGEABLE[path]
    where = path
    if new is not None:
        where = acme.post(path, new).headers["Location"]
    other = acme.agent.colleague("other")
    for name, field in schema.fields.items():
        before = acme.get(where).json
        change = filled_in({name: value_of(name, field, before.get(name), other.client_id)}, acme)
        changed = acme.patch(where, change)
        assert changed.status_code == 200, changed.json
        after = acme.get(where).json
        differing = {member for member in after if after[member] != before[member]}
        assert differing - CHANGED_BESIDE.get(path, set()) == ({name} if name in after else set())
        # Secrets are never returned, but the destination of a target is, and whether a provider has a secret.
        assert after | change == after if name in after else differing & {"destination", "hasClientSecret"}


CREATED: dict[str, tuple[ma.Schema, dict[str, Any]]] = {
    "agents/AGENT/credentials federated": (
        NewCredentialSchema(only=["label", "expiresAt", *RuleSchema().fields]),
        {"type": "federated"},
    ),
    "agents/AGENT/credentials secret": (NewCredentialSchema(only=["label", "expiresAt"]), {"type": "secret"}),
    "delegation-rules": (NewDelegationRuleSchema(), {}),
    "markers": (NewMarkerSchema(), {"kind": "deployment"}),
    "provisioning-rules": (NewProvisioningRuleSchema(), {}),
}
"""The schema of the body that creates an object, and fixed values of members, by path."""


@pytest.mark.parametrize("path", CREATED)
def test_each_member_of_a_new_thing_is_stored(acme: Api, path: str) -> None:
    schema, new_body = CREATED[path]
    where = path.partition(" ")[0].replace("AGENT", acme.agent.client_id)
    body = filled_in(body_of(schema, acme.agent.client_id) | new_body, acme)
    new = acme.post(where, body)
    assert new.status_code == 201, new.json
    id_ = new.headers["Location"].rpartition("/")[2]
    [stored] = [thing for thing in acme.get(where).json["data"] if id_ in thing.values()]
    assert stored | body == stored


@pytest.mark.parametrize("tokens", [7, 8])
def test_each_member_of_a_quota_is_stored(acme: Api, tokens: int) -> None:
    body = {"tokens": tokens, "enforce": tokens == 7}
    assert set(body) == set(NewQuotaSchema().fields)
    assert acme.put("quotas/day", body).status_code == 200
    [stored] = acme.get("quotas").json["data"]
    assert stored | body == stored
