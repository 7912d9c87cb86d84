"""``/api/v1/delegation-rules``: rules by which agents act for subjects of other issuers (RFC 8693).

A delegation rule is a rule of trust of the organization, with the agents that may act by it and the maximum of scopes.
:mod:`agentidp.oauth.token_exchange` finds the rule that accepts a token.
"""

from __future__ import annotations

import json
import uuid
from typing import Any
from uuid import UUID

import marshmallow as ma
import psycopg
from flask import Response

from agentidp import audit
from agentidp.caller import Caller, bearer
from agentidp.config import Settings
from agentidp.db.organization import Transaction
from agentidp.db.sql import Rows
from agentidp.federation.rule_checks import check_delegation_rule, warnings
from agentidp.http.errors import Conflict, ValidationError, existing
from agentidp.http.openapi import Blueprint
from agentidp.http.resource_identifier import MAX_RESOURCE_LENGTH, RESOURCE_IDENTIFIER, is_resource_identifier
from agentidp.http.responses import json_response
from agentidp.http.schemas import (
    MAX_NAME,
    AgentId,
    Exact,
    Group,
    Instant,
    Items,
    Member,
    ReturnedSchema,
    ScopeList,
    Text,
    list_of,
    read_only,
    unique,
)
from agentidp.registry.credentials import RuleSchema, trusted

blueprint = Blueprint("delegation-rules", __name__, description="For whom agents may act")

MAX_RULES = 20
"""Maximum number of delegation rules of an organization."""

MAX_AGENTS = 100
"""Maximum number of agents of a rule."""

MAX_RESOURCES = 100
"""Maximum number of resource servers of a rule."""


class DelegatedResourceSchema(ma.Schema):
    """The scopes of a resource server that agents may get for somebody."""

    resource = Exact(
        MAX_RESOURCE_LENGTH,
        is_resource_identifier,
        "must be the identifier of a resource server",
        RESOURCE_IDENTIFIER,
        required=True,
        description="The identifier of a resource server of the organization",
    )
    scopes = ScopeList(required=True, description="Scopes of it: what the tokens may do at most")

    @ma.validates("scopes")
    def must_name_some(self, scopes: list[str], data_key: str) -> None:
        """Refuse an empty list, because no token for another subject is issued without a scope."""
        if not scopes:
            raise ma.ValidationError("must name at least one scope")


class Resources(Member, ma.fields.List[Any]):
    """The resource servers of a rule. People type a line with an identifier and its scopes per resource server."""

    kind = "items"
    typed_as = "A resource server, and the scopes of it that tokens may have at most"

    def __init__(self, **kwargs: Any) -> None:
        count = ma.validate.Length(1, MAX_RESOURCES, error=f"must name 1 to {MAX_RESOURCES} resource servers")
        item = ma.fields.Nested(DelegatedResourceSchema)
        super().__init__(cls_or_instance=item, validate=[count, _must_name_each_once], **kwargs)
        self.error_messages["invalid"] = "must be a list"

    def from_typed(self, typed: Any) -> Any:
        """Return one entry per resource server, also for several lines."""
        scopes_of: dict[str, list[str]] = {}
        for resource, *scopes in filter(None, map(str.split, typed)):
            scopes_of.setdefault(resource, []).extend(scopes)
        return [{"resource": resource, "scopes": scopes} for resource, scopes in scopes_of.items()]


def _must_name_each_once(resources: list[dict[str, Any]]) -> None:
    # With two entries for a resource server, it would be undefined which entry applies.
    unique("a resource server")([entry["resource"] for entry in resources])


class DelegationRuleFields(ma.Schema):
    delegationRuleId = ma.fields.UUID(attribute="delegation_rule_id", dump_only=True)
    name = Text(1, MAX_NAME, required=True, description="The rule's name, unique in the organization")
    trust = Group(
        RuleSchema,
        required=True,
        description="Whose tokens. The audience contains the id of the organization; without one it must be the "
        "`client_id` of the agent that acts. Without subject and claims everybody of the issuer is meant",
    )
    agentIds = Items(
        AgentId(),
        required=True,
        attribute="agent_ids",
        validate=[
            ma.validate.Length(1, MAX_AGENTS, error=f"must name 1 to {MAX_AGENTS} agents"),
            unique("an agent"),
        ],
        words="agents",
        description="The agents that may act by it. Those that are deleted later stay, and cannot act",
    )
    resources = Resources(
        required=True,
        option="--resource",
        metavar="'RESOURCE SCOPE …'",
        description="What they may reach at most: resource servers, and scopes of each",
    )
    createdAt = Instant(attribute="created_at", dump_only=True)
    warnings = ma.fields.List(
        ma.fields.String(), dump_only=True, metadata={"description": "Whom it means, and by what names"}
    )


class NewDelegationRuleSchema(DelegationRuleFields):
    class Meta:
        exclude = read_only(DelegationRuleFields)


class DelegationRuleSchema(ReturnedSchema, DelegationRuleFields):
    """A delegation rule. It never changes."""


recorded = DelegationRuleSchema(only=list(NewDelegationRuleSchema().fields)).as_json
"""Return the members of a rule in the audit trail and in a file."""
_returned = DelegationRuleSchema(exclude=["warnings"]).as_json


@blueprint.route("/api/v1/delegation-rules", methods=["POST"])
@bearer("agents:write")
@blueprint.arguments(NewDelegationRuleSchema)
@blueprint.response(201, DelegationRuleSchema, headers={"Location": "Location"})
@blueprint.alt_response(409, "CONFLICT")
def create_delegation_rule(caller: Caller, new: dict[str, Any]) -> Response:
    """Create a rule by which agents may act for people and systems of another issuer."""
    with caller.transaction() as opened:
        body = represent(add_rule(opened, caller.settings, new))
    return json_response(body, 201, {"Location": f"/api/v1/delegation-rules/{body['delegationRuleId']}"})


@blueprint.route("/api/v1/delegation-rules")
@bearer("agents:read")
@blueprint.response(200, list_of(DelegationRuleSchema))
def list_delegation_rules(caller: Caller) -> Response:
    """List the delegation rules, oldest first."""
    return json_response({"data": [represent(row) for row in caller.read("delegation/list_rules")]})


@blueprint.route("/api/v1/delegation-rules/<uuid:delegation_rule_id>")
@bearer("agents:read")
@blueprint.response(200, DelegationRuleSchema)
def get_delegation_rule(caller: Caller, delegation_rule_id: UUID) -> Response:
    """Return one delegation rule."""
    return json_response(represent(rule_with(caller.read("delegation/list_rules"), delegation_rule_id)))


@blueprint.route("/api/v1/delegation-rules/<uuid:delegation_rule_id>", methods=["DELETE"])
@bearer("agents:write")
@blueprint.response(204)
def delete_delegation_rule(caller: Caller, delegation_rule_id: UUID) -> Response:
    """Delete a delegation rule. No token is issued by it any more, and introspection reports those that were issued as
    inactive. If only their signature is verified, they work until they expire.
    """
    with caller.transaction() as opened:
        remove_rule(opened, delegation_rule_id)
    return Response(status=204)


def add_rule(opened: Transaction, settings: Settings, new: dict[str, Any]) -> Any:
    """Create a delegation rule.

    :param new: members that :class:`NewDelegationRuleSchema` loads.
    :returns: the row of the rule.
    :raises ValidationError: the rule is refused.
    :raises Conflict: another rule has the name, or the organization has the maximum number of rules.
    """
    trust = trusted(new["trust"], settings, opened.organization_id, check=check_delegation_rule, within="trust")
    agent_ids = {row.agent_id for row in opened.fetch("agents/agents_with_ids", agent_ids=new["agent_ids"])}
    if unknown := [str(agent_id) for agent_id in new["agent_ids"] if agent_id not in agent_ids]:
        rule = f"must be agents of the organization, not {', '.join(unknown)}"
        raise ValidationError(details={"agentIds": [rule]})
    _refuse_unknown_resources(opened, new["resources"])
    opened.fetch("organizations/lock_organization")
    try:
        rows = opened.fetch(
            "delegation/add_rule",
            delegation_rule_id=uuid.uuid4(),
            most=MAX_RULES,
            **new | {"trust": json.dumps(trust), "resources": json.dumps(new["resources"])},
        )
    except psycopg.errors.UniqueViolation:
        raise Conflict("Another delegation rule has this name.", details={"name": ["is taken"]}) from None
    if not rows:
        raise Conflict(f"The organization has {MAX_RULES} delegation rules; delete one first.")
    [row] = rows
    audit.record(opened, "delegation_rule.created", row.delegation_rule_id, after=recorded(row))
    return rule_with(opened.fetch("delegation/list_rules"), row.delegation_rule_id)


def _refuse_unknown_resources(opened: Transaction, resources: list[dict[str, Any]]) -> None:
    scopes_of = {row.resource: row.scopes for row in opened.fetch("oauth/list_resource_servers")}
    for entry in resources:
        resource = entry["resource"]
        if resource not in scopes_of:
            rule = f"must be resource servers of the organization, not {resource}"
            raise ValidationError(details={"resources": [rule]})
        if unknown := sorted({*entry["scopes"]} - {*scopes_of[resource]}):
            rule = f"must have scopes of the resource server {resource}, not {', '.join(unknown)}"
            raise ValidationError(details={"resources": [rule]})


def rule_with(rows: Rows, delegation_rule_id: UUID) -> Any:
    """Return the row of ``delegation/list_rules`` with an id, or raise ``NotFound``."""
    return existing([row for row in rows if row.delegation_rule_id == delegation_rule_id])


def remove_rule(opened: Transaction, delegation_rule_id: UUID) -> None:
    """Delete a delegation rule, and so end the tokens that were issued by it, or raise ``NotFound``."""
    row = existing(opened.fetch("delegation/delete_rule", delegation_rule_id=delegation_rule_id))
    audit.record(opened, "delegation_rule.deleted", delegation_rule_id, before=recorded(row))


def represent(row: Any) -> dict[str, Any]:
    """Return the row of a delegation rule as our JSON."""
    return _returned(row) | {"warnings": warnings(row.trust)}
